"""The command line: one sub-command each, and the sentence with which it ends when it cannot run."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import structlog
from structlog.typing import FilteringBoundLogger

from exporter import app as program
from exporter import classify, demo, once
from exporter.adapters.store.errors import StoreError
from exporter.app import RunOptions
from exporter.config import ConfigError, load
from exporter.core.classifier.classifier import Classifier, CustomRule
from exporter.emulator import ScenarioError, scenario_names, scenario_server
from exporter.factory import Shard

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}

CANNOT_RUN = 1
WRONG_USAGE = 2


class WrongUsageError(Exception):
    """Flags that do not go together; the message is one sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done or asked to stop, 1 it could not run, 2 wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser()
    # Without a command it is `run`, as every exporter is started.
    first = next((argument for argument in given if not argument.startswith("-")), None)
    if (first not in COMMANDS or given.index(first) > 0) and not {"--version", "--help", "-h"} & set(
        given[:1]
    ):
        given = ["run", *given]
    options = parser.parse_args(given)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except WrongUsageError as error:
        print(f"modelarts-exporter: {error}", file=sys.stderr)
        return WRONG_USAGE
    except (ConfigError, StoreError, ScenarioError, OSError, ValueError) as error:
        print(f"modelarts-exporter: {error}", file=sys.stderr)
        return CANNOT_RUN
    except KeyboardInterrupt:
        return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = argparse.ArgumentParser(
        prog="modelarts-exporter",
        description="Prometheus exporter that sees failed deployments of ModelArts inference services.",
        epilog="Without a command: run.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=program.version_line())
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (add, run) in COMMANDS.items():
        about = (run.__doc__ or "").splitlines()[0]
        sub = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        add(sub)
        sub.set_defaults(command=run)
    return parser


# --- run ---------------------------------------------------------------------------------------------


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=program.version_line())
    _add_config(parser)
    parser.add_argument(
        "--web.listen-address",
        dest="listen",
        action="append",
        metavar="ADDR",
        help="repeatable (default :10155)",
    )
    parser.add_argument("--web.telemetry-path", dest="telemetry_path", default="/metrics", metavar="PATH")
    parser.add_argument(
        "--web.config.file", dest="web_config_file", default="", metavar="FILE", help="TLS, users and headers"
    )
    parser.add_argument(
        "--web.enable-lifecycle", dest="lifecycle", action="store_true", help="allow POST /-/reload"
    )
    parser.add_argument(
        "--web.external-url",
        dest="external_url",
        type=_url,
        default="",
        metavar="URL",
        help="where readers reach the pages",
    )
    parser.add_argument(
        "--web.max-requests",
        dest="max_requests",
        type=_positive,
        default=40,
        metavar="N",
        help="scrapes at once",
    )
    parser.add_argument(
        "--storage.path", dest="storage_path", default="data/", metavar="DIR", help="empty: memory only"
    )
    _add_shard(parser)
    _add_log(parser)


def _run(options: argparse.Namespace) -> int:
    """Run the exporter."""
    return program.run(
        RunOptions(
            config_file=options.config_file,
            listen=tuple(options.listen or (":10155",)),
            telemetry_path=options.telemetry_path,
            web_config_file=options.web_config_file,
            lifecycle=options.lifecycle,
            max_requests=options.max_requests,
            storage_path=options.storage_path,
            shard=_shard(options),
            external_url=options.external_url,
        ),
        _logger(options.log_level, options.log_format),
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config.file", dest="config_file", required=True, metavar="FILE")


def _add_shard(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shard.index", dest="shard_index", type=int, default=0, metavar="I", help="from 0")
    parser.add_argument("--shard.total", dest="shard_total", type=_positive, default=1, metavar="N")


def _shard(options: argparse.Namespace) -> Shard:
    if not 0 <= options.shard_index < options.shard_total:
        raise WrongUsageError(
            f"--shard.index is {options.shard_index}; it must be 0 to {options.shard_total - 1}, "
            f"one less than --shard.total."
        )
    return Shard(options.shard_index, options.shard_total)


def _add_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log.level", dest="log_level", choices=list(_LEVELS), default="info")
    parser.add_argument("--log.format", dest="log_format", choices=["logfmt", "json"], default="logfmt")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _url(text: str) -> str:
    """A URL, or nothing for this host's own."""
    if text and not _is_url(text):
        # Alertmanager refuses an alert, and all that come with it, whose link is none.
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL such as https://host or https://host/path")
    return text


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname) and len(text.split()) == 1


def _logger(level: str, form: str) -> FilteringBoundLogger:
    """A log on stderr, as Prometheus writes its own."""
    first = ["ts", "level", "event"]
    render = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.processors.LogfmtRenderer(key_order=first)
    )
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLoggerFactory(sys.stderr)(),
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            render,
        ],
    )
    return logger


# --- the others --------------------------------------------------------------------------------------


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--web.listen-address", dest="listen", default=":10155", metavar="ADDR")
    _add_log(parser)
    parser.set_defaults(log_level="warn")


def _demo(options: argparse.Namespace) -> int:
    """Start an emulated cloud, the exporter on it, and Prometheus and Alertmanager where installed."""
    return demo.run(options.listen, _logger(options.log_level, options.log_format))


def _add_emulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", default="127.0.0.1:10156", metavar="ADDR", help="host:port")
    parser.add_argument(
        "--scenario", default=None, metavar="FILE", help=f"a file, or one of: {', '.join(scenario_names())}"
    )


def _emulate(options: argparse.Namespace) -> int:
    """Run the emulated cloud alone."""
    return demo.emulate(scenario_server(options.listen, options.scenario))


def _add_check_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")


def _check_config(options: argparse.Namespace) -> int:
    """Validate a configuration file."""
    try:
        config = load(options.file, os.environ)
    except ConfigError as error:
        print(error)
        return CANNOT_RUN
    names = ", ".join(project.name for project in config.projects)
    print(f"{options.file}: valid; projects: {names}")
    return 0


def _add_once(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument(
        "--storage.path", dest="storage_path", default="", metavar="DIR", help="default: memory only"
    )
    _add_shard(parser)
    _add_log(parser)
    parser.set_defaults(log_level="warn")


def _once(options: argparse.Namespace) -> int:
    """Poll everything once and print the exposition."""
    return once.run(
        options.config_file,
        options.storage_path,
        _shard(options),
        _logger(options.log_level, options.log_format),
    )


def _add_classify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "text", nargs="*", metavar="TEXT", help="an event text; without one, a line of stdin each"
    )
    parser.add_argument(
        "--config.file", dest="config_file", default="", metavar="FILE", help="with its own causes"
    )
    parser.add_argument("--history", metavar="FILE", help=classify.HISTORY_HELP)


def _classify(options: argparse.Namespace) -> int:
    """Tell what an event text means: phase, reason, remedy; or which event of a history is the cause."""
    rules = load(options.config_file, os.environ).causes if options.config_file else ()
    classifier = Classifier([CustomRule(rule.reason, rule.pattern.pattern, rule.remedy) for rule in rules])
    if options.history and options.text:
        raise WrongUsageError("--history takes the place of a text.")
    if options.history:
        print(classify.explanation(classifier, options.history))
        return 0
    texts = options.text or (line.rstrip("\n") for line in sys.stdin)
    if options.text and not any(" " in text for text in options.text):
        texts = [" ".join(options.text)]  # one text that was not quoted
    for text in texts:
        print(classify.meaning(classifier, text))
    return 0


COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]] = {
    "run": (_add_run, _run),
    "demo": (_add_demo, _demo),
    "emulate": (_add_emulate, _emulate),
    "check-config": (_add_check_config, _check_config),
    "once": (_add_once, _once),
    "classify": (_add_classify, _classify),
}
