"""All that knows Binance: its messages, its two WebSocket services, its catalog."""

import sys

import structlog

# structlog's own default is stdout, which belongs to the data of whoever imports this.
# A program that configures structlog, before or after, has its own way.
if not structlog.is_configured():
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
