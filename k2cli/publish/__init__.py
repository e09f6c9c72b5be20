"""Handing a capture on to a distributed log, each trade exactly once."""
