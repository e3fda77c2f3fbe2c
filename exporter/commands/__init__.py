"""What the program does beside running: one module for each command that is more than a call."""
