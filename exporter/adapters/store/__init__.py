"""The disk: what outlives the process."""
