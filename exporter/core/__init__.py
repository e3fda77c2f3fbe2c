"""What must be right: pure values and functions, with no clock, socket, file, thread or log."""
