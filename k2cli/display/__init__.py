"""The eyes: trades as lines for a pipe, and as a live table for a terminal.

``market`` knows, ``columns``, ``status`` and ``table`` draw, ``live`` holds the
terminal; ``formats`` and ``lines`` serve pipes. Nothing is imported here, so that a
pipe of JSON does not pay for the table.
"""
