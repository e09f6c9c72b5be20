"""The eyes: trades as lines for a pipe, and as a live screen for a terminal.

``market`` knows, with ``symbol`` and ``window``; ``controls`` is what a person has
chosen; ``view`` draws the screen, of the parts ``table`` (``columns``, ``layout``,
``order``), ``tape``, ``chart``, ``status`` and ``help``; ``live`` holds the terminal,
with ``cells``. ``formats`` and ``lines`` serve pipes. Nothing is imported here, so that
a pipe of JSON does not pay for the screen.
"""
