"""Trades as lines for a pipe and on a live screen, and reports for people.

``market`` keeps the figures that are shown; ``controls`` what a person has chosen;
``screen`` draws both, from ``table`` (``columns``), ``tape``, ``charts`` and
``status``; ``terminal`` shows it. ``formats`` and ``lines`` serve pipes, ``progress``
and ``reports`` the other commands. Everything draws plain data that it is handed.
Nothing is imported here, so that a pipe of JSON does not wait for the screen.
"""
