"""The poll loop: what is due is read, counted, made durable, and only then shown."""
