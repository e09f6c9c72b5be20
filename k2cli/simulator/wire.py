"""The WebSocket protocol of a connection, as ``websockets`` has it without I/O."""

from __future__ import annotations

import logging

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.server import ServerProtocol

_MAX_MESSAGE_BYTES = 1_048_576

# The embedded exchange runs inside a command whose stderr is for its own user.
_quiet = logging.getLogger("k2cli.simulator.websockets")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False
_quiet.setLevel(logging.CRITICAL + 1)


def server_wire() -> ServerProtocol:
    """Make a server's protocol: compression only if asked for, as Binance offers it."""
    return ServerProtocol(
        extensions=[ServerPerMessageDeflateFactory(server_no_context_takeover=True)],
        max_size=_MAX_MESSAGE_BYTES,
        logger=_quiet,
    )
