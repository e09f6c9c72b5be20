"""The promise: nothing lost, nothing twice, and the file that shows it."""
