"""What can fail: one module for each outside party; they do not import one another."""
