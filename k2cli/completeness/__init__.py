"""The promise as rules: what is there, what is missing, and what to do about it.

Nothing here does input or output, reads a clock or draws a random number.
"""
