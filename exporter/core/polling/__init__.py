"""When each service is read, how fast requests may go, and when a refused login is tried again."""
