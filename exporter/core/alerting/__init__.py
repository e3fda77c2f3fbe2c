"""The alert of a failed deployment: its state, and what is told of it when."""
