"""What the exporter would have shown in the past, from what the logs still tell."""
