"""What the text of an event means: a failure and its reason, or a step of a deployment."""
