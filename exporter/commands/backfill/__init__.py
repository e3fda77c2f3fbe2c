"""The command `backfill`: the past of every service, for a Prometheus that was not there."""

from exporter.commands.backfill.command import Flags, run

__all__ = ["Flags", "run"]
