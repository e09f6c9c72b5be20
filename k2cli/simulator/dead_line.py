"""What is under way on a line that is dead for a while, or for ever."""

from __future__ import annotations

MAX_INPUT_BYTES = 65_536
"""What is kept of a client's bytes; the rest is lost."""


class DeadLine:
    """Keeps what both sides send until the line works again, as TCP would.

    Args:
        output_limit_bytes: Most that is kept of the server's bytes; once there is
            more, nothing is, and the line has to be given up.
        for_ever: Keep nothing, for the line will not work again.
    """

    def __init__(self, output_limit_bytes: int, *, for_ever: bool) -> None:
        self._output_limit_bytes = output_limit_bytes
        self.is_for_ever = for_ever
        self.has_overrun = False
        self.output = bytearray()
        self.input = bytearray()

    def hold_output(self, data: bytes) -> None:
        """Keep what the server sends."""
        if self.is_for_ever or self.has_overrun:
            return
        if len(self.output) + len(data) > self._output_limit_bytes:
            self.has_overrun = True
            self.output.clear()
        else:
            self.output += data

    def hold_input(self, data: bytes) -> None:
        """Keep what the client sends."""
        if not self.is_for_ever:
            self.input += data[: MAX_INPUT_BYTES - len(self.input)]
