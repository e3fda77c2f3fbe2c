"""What the status pages and the JSON say of services."""
