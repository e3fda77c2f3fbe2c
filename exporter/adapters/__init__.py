"""What can fail: one module or folder for each outside party; they do not import one another."""
