"""The command `wait`: waits for the end of a deployment, as the gate of a pipeline."""

from exporter.commands.wait.command import run
from exporter.commands.wait.since import DEFAULT, Since, parse_since

__all__ = ["DEFAULT", "Since", "parse_since", "run"]
