"""What goes with the program: alert rules, dashboards, runbooks, and examples of a deployment."""

from exporter.assets.files import names, path, read

__all__ = ["names", "path", "read"]
