"""The door: what a user types, and what becomes of it."""
