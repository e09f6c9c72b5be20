"""One run: from a venue, through the completeness rules, to sinks."""
