"""Each trade exactly once, or a report of what is missing: the rules.

Nothing here does input or output, reads a clock or draws a random number.
"""
