"""The command `wait`: waits for the end of a deployment, as the gate of a pipeline."""

from exporter.commands.wait.command import run

__all__ = ["run"]
