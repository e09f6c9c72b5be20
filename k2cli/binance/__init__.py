"""All that knows Binance: its messages, its two WebSocket services, its catalog."""
