"""What is counted of each service and project, exactly once."""
