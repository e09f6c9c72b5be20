"""Messages of the trade stream: what a frame holds."""

from __future__ import annotations

from typing import Any

import orjson

from k2cli.errors import MalformedMessage, printable

TRADE = "trade"
SERVER_SHUTDOWN = "serverShutdown"


def decode_frame(frame: str | bytes) -> dict[str, Any]:
    """Read one frame of a stream connection and take it out of its wrapping.

    Args:
        frame: A text frame, as text or as the bytes received: an event of a combined
            connection (``{"stream":…,"data":{…}}``), a raw event, or a reply.

    Returns:
        The event, or the reply, as received.

    Raises:
        MalformedMessage: If it is no JSON object.
    """
    try:
        message = orjson.loads(frame)
    except (orjson.JSONDecodeError, RecursionError) as exc:
        raise MalformedMessage(f"not JSON: {printable(frame)}") from exc
    return unwrap(message)


def unwrap(message: object) -> dict[str, Any]:
    """Take an event out of the wrapping of a combined connection.

    Raises:
        MalformedMessage: If it is no JSON object.
    """
    if isinstance(message, dict):
        if "stream" not in message:
            return message
        data = message.get("data")
        if isinstance(data, dict):
            return data
    raise MalformedMessage(f"not an event: {excerpt(message)}")


def excerpt(message: object) -> str:
    """Give the beginning of a message as text that is fit for printing."""
    try:
        return printable(str(message))
    except RecursionError:
        # orjson reads deeper nesting than Python can show.
        return "nested too deeply"


def is_reply(event: dict[str, Any]) -> bool:
    """Tell whether a message answers a request of ours.

    Replies are never wrapped; errors were seen nested as well as flat.
    """
    return "e" not in event and (
        "result" in event or "error" in event or "code" in event
    )
