"""The config file: YAML becomes frozen values, or one error that tells every mistake with its line."""

from exporter.config.credentials import AkSkAuth, Auth, BasicAuth, PasswordAuth, Tls
from exporter.config.loading import load, load_section
from exporter.config.problems import ConfigError, Problem
from exporter.config.public import to_public_dict, to_public_yaml
from exporter.config.schema import (
    Alertmanager,
    CauseRule,
    Config,
    Links,
    Metrics,
    Poll,
    Project,
    Services,
    Store,
)
from exporter.config.secret import Secret, SecretFile, SecretUnreadable
from exporter.config.values import format_duration, parse_duration
from exporter.config.warnings import warnings

__all__ = [
    "AkSkAuth",
    "Alertmanager",
    "Auth",
    "BasicAuth",
    "CauseRule",
    "Config",
    "ConfigError",
    "Links",
    "Metrics",
    "PasswordAuth",
    "Poll",
    "Problem",
    "Project",
    "Secret",
    "SecretFile",
    "SecretUnreadable",
    "Services",
    "Store",
    "Tls",
    "format_duration",
    "load",
    "load_section",
    "parse_duration",
    "to_public_dict",
    "to_public_yaml",
    "warnings",
]
