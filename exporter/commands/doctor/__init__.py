"""The command `doctor`: what works between this machine and the cloud, what does not, and what to do."""
