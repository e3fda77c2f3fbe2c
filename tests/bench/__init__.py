"""What `make bench` measures, and the servers and clients that it needs, each a process of its own."""
