"""A message that stays for a while, and not for ever."""

from __future__ import annotations

from k2cli.display.digits import clock_text

SHOWN_SECONDS = 30.0
"""How long a message stays on the screen."""


class Notice:
    """The latest message, with its time, until it is old."""

    def __init__(self) -> None:
        self._message: str | None = None
        self._came_seconds = 0.0
        self._text = ""

    def look(
        self, message: str | None, *, now_seconds: float, time_us: int
    ) -> str | None:
        """Give what is to be shown.

        Args:
            message: The latest one; the same text said again is another object.
            now_seconds: A monotonic clock.
            time_us: The time of day, Unix microseconds.
        """
        if message is not self._message:
            self._message, self._came_seconds = message, now_seconds
            clock = clock_text(time_us).partition(".")[0]
            self._text = f"{clock} {message}"
        if message is None or now_seconds - self._came_seconds >= SHOWN_SECONDS:
            return None
        return self._text
