"""The command line: one function for each sub-command, and the error message when it cannot run."""

import argparse
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

from exporter import app as program
from exporter.adapters.store.errors import StoreError
from exporter.app import RunOptions
from exporter.commands import assets, backfill, classify, completion, demo, once, record, size, wait
from exporter.commands.doctor import command as doctor
from exporter.commands.since import JUST_NOW, Since, parse_since
from exporter.config import ConfigError, load, parse_duration, warnings
from exporter.core.classifier.classifier import Classifier
from exporter.core.polling.schedule import PollIntervals
from exporter.core.polling.shard import Shard
from exporter.core.polling.sizing import Load
from exporter.emulator import ScenarioError, scenario_names, scenario_server
from exporter.factory import classifier
from exporter.log import LEVELS, LogOutput, logger

CANNOT_RUN = 1
WRONG_USAGE = 2
# Of `backfill`: half a minute for a year. The file of more would be of terabytes.
_MOST_STEPS = 1_000_000
_SHORTEST_STEP_MS = 1000
# The exit code that a shell gives a program which SIGINT has ended.
INTERRUPTED = 130


class _Help(argparse.HelpFormatter):
    """Help with the default of each flag; a text that names one, for a default that is no value, stays."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        has_default = action.default not in (None, "", argparse.SUPPRESS) and action.default is not False
        if text and has_default and action.option_strings and "(default: " not in text:
            return f"{text} (default: %(default)s)"
        return text


class WrongUsageError(Exception):
    """Flags that contradict each other; the message is one sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done or asked to stop, 1 it could not run, 2 wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show Chinese must not end the program.
            stream.reconfigure(errors="backslashreplace")
    try:
        options = build_parser().parse_args(_with_command(given))
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except WrongUsageError as error:
        _complain(str(error))
        return WRONG_USAGE
    except (ConfigError, StoreError, ScenarioError, OSError, ValueError) as error:
        _complain(str(error))
        return CANNOT_RUN
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a bug of ours ends with an error message and a code too
        with suppress(OSError, ValueError):
            traceback.print_exc()
        _complain(f"ended by a mistake in the program, please report it: {type(error).__name__}: {error}")
        return CANNOT_RUN


def _with_command(given: list[str]) -> list[str]:
    """The arguments with the command in front. Without one it is `run`, as for every exporter."""
    first = given[0] if given else ""
    if first in COMMANDS or first in ("--version", "--help", "-h"):
        return given
    if first.startswith("-") or not first:
        return ["run", *given]
    close = get_close_matches(first, COMMANDS, n=1)
    raise WrongUsageError(
        f"{first!r} is no command; "
        + (f"did you mean {close[0]}?" if close else f"the commands are {', '.join(COMMANDS)}.")
    )


def _complain(sentence: str) -> None:
    with suppress(OSError, ValueError):  # if stderr cannot be written, only the exit code is left
        print(f"modelarts-exporter: {sentence}", file=sys.stderr, flush=True)


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = argparse.ArgumentParser(
        prog="modelarts-exporter",
        description="Prometheus exporter that shows failed deployments of ModelArts inference services.",
        epilog="Without a command, it runs the exporter (run).",
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=program.version_line())
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (add, run) in COMMANDS.items():
        about = (run.__doc__ or "").splitlines()[0]
        sub = commands.add_parser(
            name, help=about, description=about, formatter_class=_Help, allow_abbrev=False
        )
        add(sub)
        sub.set_defaults(command=run)
    return parser


# --- run ---------------------------------------------------------------------------------------------


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=program.version_line())
    _add_run_flags(parser)


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument(
        "--web.listen-address",
        dest="listen",
        action="append",
        metavar="ADDR",
        help="address to listen on; repeatable (default: :10155)",
    )
    parser.add_argument(
        "--web.telemetry-path",
        dest="telemetry_path",
        default="/metrics",
        metavar="PATH",
        help="path of the metrics",
    )
    parser.add_argument(
        "--web.config.file",
        dest="web_config_file",
        default="",
        metavar="FILE",
        help="web config file: TLS, users and headers (default: none of them)",
    )
    parser.add_argument(
        "--web.enable-lifecycle",
        dest="lifecycle",
        action="store_true",
        help="allow POST /-/reload and /-/poll",
    )
    parser.add_argument(
        "--web.external-url",
        dest="external_url",
        type=_url,
        default="",
        metavar="URL",
        help="URL at which people reach the pages; alerts link to it "
        "(default: links.external_url of the config file, else this host's name)",
    )
    parser.add_argument(
        "--web.max-requests",
        dest="max_requests",
        type=_positive,
        default=40,
        metavar="N",
        help="scrapes that are answered at the same time",
    )
    parser.add_argument(
        "--storage.path",
        dest="storage_path",
        default="data/",
        metavar="DIR",
        help="directory of the store; empty: memory only",
    )
    _add_shard(parser)
    _add_log(parser)


def _run(options: argparse.Namespace) -> int:
    """Run the exporter."""
    with closing(LogOutput()) as output:
        log = logger(options.log_level, options.log_format, output)
        return program.run(_run_options(options), log, output)


def _run_options(options: argparse.Namespace) -> RunOptions:
    return RunOptions(
        config_file=options.config_file,
        listen=tuple(options.listen or (":10155",)),
        telemetry_path=options.telemetry_path,
        web_config_file=options.web_config_file,
        lifecycle=options.lifecycle,
        max_requests=options.max_requests,
        storage_path=options.storage_path,
        shard=_shard(options),
        external_url=options.external_url,
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config.file", dest="config_file", required=True, metavar="FILE", help="the config file"
    )


def _add_shard(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shard.index",
        dest="shard_index",
        type=int,
        default=0,
        metavar="I",
        help="which part of the services this process reads, counted from 0",
    )
    parser.add_argument(
        "--shard.total",
        dest="shard_total",
        type=_positive,
        default=1,
        metavar="N",
        help="how many processes share the services",
    )


def _shard(options: argparse.Namespace) -> Shard:
    if not 0 <= options.shard_index < options.shard_total:
        raise WrongUsageError(
            f"--shard.index is {options.shard_index}; it must be 0 to {options.shard_total - 1}, "
            f"one less than --shard.total."
        )
    return Shard(options.shard_index, options.shard_total)


def _add_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log.level",
        dest="log_level",
        choices=list(LEVELS),
        default="info",
        help="lowest level to log",
    )
    parser.add_argument(
        "--log.format",
        dest="log_format",
        choices=["logfmt", "json"],
        default="logfmt",
        help="form of a line",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _url(text: str) -> str:
    """A URL; empty for this host's own."""
    if text and not _is_url(text):
        # Alertmanager refuses an alert whose link is not a URL, and every alert of the same request.
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL such as https://host or https://host/path")
    return text


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname) and len(text.split()) == 1


def _positive_duration(text: str) -> int:
    """In ms."""
    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if duration == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration above 0")
    return duration


# --- other commands --------------------------------------------------------------------------------------


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--web.listen-address",
        dest="listen",
        default=":10155",
        metavar="ADDR",
        help="address of the exporter",
    )
    _add_log(parser)
    parser.set_defaults(log_level="warn")


def _demo(options: argparse.Namespace) -> int:
    """Start an emulated cloud, the exporter, and Prometheus and Alertmanager if they are installed."""
    with closing(LogOutput()) as output:
        return demo.run(options.listen, logger(options.log_level, options.log_format, output))


def _add_emulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", default="127.0.0.1:10156", metavar="ADDR", help="address to listen on")
    plays = parser.add_mutually_exclusive_group()
    plays.add_argument(
        "--scenario",
        metavar="FILE",
        help=f"what happens there: a file, or one of {', '.join(scenario_names())} (default: demo)",
    )
    plays.add_argument(
        "--replay", metavar="FILE", help="answer with what `record` has written (default: play a scenario)"
    )
    parser.add_argument("--speed", type=_above_zero, default="1", metavar="N", help="play N times as fast")


def _emulate(options: argparse.Namespace) -> int:
    """Run the emulated cloud alone, or replay what a real one has answered."""
    if options.replay is not None:
        return demo.replay(options.listen, options.replay, options.speed)
    return demo.emulate(scenario_server(options.listen, options.scenario, speed=options.speed))


def _above_zero(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or float(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, such as 10 or 0.5")
    return float(text)


def _add_record(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="where to write the recording")
    parser.add_argument(
        "--for",
        dest="milliseconds",
        type=_positive_duration,
        default="10m",
        metavar="DURATION",
        help="how long to record; Ctrl-C ends it earlier",
    )
    parser.add_argument(
        "--service",
        dest="service_ids",
        action="append",
        type=_service_id,
        default=[],
        metavar="ID",
        help="record this service and no other one; repeatable (default: all services)",
    )
    _add_log(parser)
    parser.set_defaults(log_level="error")


def _record(options: argparse.Namespace) -> int:
    """Write what the cloud answers to a file, without secrets, ids and names of people."""
    with closing(LogOutput()) as output:
        log = logger(options.log_level, options.log_format, output)
        return record.run(
            options.config_file, options.output, options.milliseconds, options.service_ids, log, output
        )


def _service_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", text):  # as in the config file
        raise argparse.ArgumentTypeError(f"{text!r} is not the id of a service")
    return text


def _add_check_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the config file")


def _check_config(options: argparse.Namespace) -> int:
    """Check a config file and print every mistake in it."""
    try:
        config = load(options.file, os.environ)
    except ConfigError as error:
        print(error)
        return CANNOT_RUN
    for sentence in warnings(config):
        print(f"{options.file}: warning: {sentence}", file=sys.stderr)
    names = ", ".join(project.name for project in config.projects)
    print(f"{options.file}: valid; projects: {names}")
    return 0


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--project", metavar="NAME", help="check this project alone (default: all projects)")
    parser.add_argument("--format", choices=["text", "json"], default="text", help="form of the output")


def _doctor(options: argparse.Namespace) -> int:
    """Check what works between this machine and the cloud, and say what to do about the rest."""
    try:
        return doctor.run(options.config_file, options.project, options.format)
    except doctor.UnknownProjectError as error:
        raise WrongUsageError(str(error)) from error


def _add_once(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument(
        "--storage.path",
        dest="storage_path",
        default="",
        metavar="DIR",
        help="directory of the store (default: memory only)",
    )
    _add_shard(parser)
    _add_log(parser)
    parser.set_defaults(log_level="warn")


def _once(options: argparse.Namespace) -> int:
    """Poll everything once and print the metrics."""
    with closing(LogOutput()) as output:
        log = logger(options.log_level, options.log_format, output)
        return once.run(options.config_file, options.storage_path, _shard(options), log, output)


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", metavar="SERVICE", type=_text, help="its name or id")
    _add_config(parser)
    parser.add_argument(
        "--project",
        default="",
        metavar="P",
        help="its project, by the name in the config file (default: all projects)",
    )
    parser.add_argument(
        "--since",
        type=_since,
        default=JUST_NOW,
        metavar="TIME",
        help="an update that began earlier is not waited for: 2026-01-31T12:00:00Z, seconds since the epoch, "
        "or a duration back (default: when the command started, less a minute)",
    )
    parser.add_argument(
        "--timeout",
        type=_positive_duration,
        default="30m",
        metavar="DURATION",
        help="how long to wait at most",
    )


def _wait(options: argparse.Namespace) -> int:
    """Wait for the end of a deployment: 0 it succeeded, 3 it failed, 4 timeout, 1 it could not be read."""
    return wait.run(options.service, options.config_file, options.project, options.since, options.timeout)


def _text(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _since(text: str) -> Since:
    try:
        return parse_since(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add_classify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "text", nargs="*", metavar="TEXT", help="the event text; without it, each line of stdin is one"
    )
    parser.add_argument(
        "--config.file",
        dest="config_file",
        default="",
        metavar="FILE",
        help="use the causes of this config file too (default: the built-in ones alone)",
    )
    parser.add_argument("--history", metavar="FILE", help=classify.HISTORY_HELP)


def _classify(options: argparse.Namespace) -> int:
    """Print what an event text means, or which event of a failed update is its cause."""
    found = classifier(load(options.config_file, os.environ)) if options.config_file else Classifier()
    if options.history and options.text:
        raise WrongUsageError("Give --history or a text, not both.")
    if options.history:
        print(classify.explanation(found, options.history))
        return 0
    texts = options.text or (line.rstrip("\n") for line in sys.stdin)
    if options.text and not any(" " in text for text in options.text):
        texts = [" ".join(options.text)]  # one text that was not quoted
    for text in texts:
        print(classify.meaning(found, text))
    return 0


def _add_backfill(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument(
        "--since",
        type=_instant,
        default="30d",
        metavar="TIME",
        help="its begin: a duration back, RFC 3339, or seconds since the epoch",
    )
    parser.add_argument(
        "--step",
        type=_step,
        default="5m",
        metavar="DURATION",
        help="time from one sample to the next",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the file to write")
    _add_shard(parser)


def _backfill(options: argparse.Namespace) -> int:
    """Write the visible history as OpenMetrics, for promtool to make blocks of."""
    if program.now_ms() - options.since < options.step:
        raise WrongUsageError("--since is not one --step back.")
    if (program.now_ms() - options.since) / options.step > _MOST_STEPS:
        raise WrongUsageError(f"That is more than {_MOST_STEPS} steps; make --step longer.")
    return backfill.run(
        backfill.Flags(options.config_file, options.since, options.step, options.output, _shard(options))
    )


def _step(text: str) -> int:
    step = _positive_duration(text)
    if step < _SHORTEST_STEP_MS:
        raise argparse.ArgumentTypeError(f"{text!r} is less than a second")
    return step


def _instant(text: str) -> int:
    """A time in ms."""
    return _since(text).on_clock(program.now_ms(), 0)


def _add_assets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="where to write; made if need be")
    parser.add_argument(
        "--alerts.config",
        dest="alerts_config",
        type=Path,
        metavar="FILE",
        help="values of your own for the alert rules: what differs from alerts/config.yml (default: nothing)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that differ")


def _assets(options: argparse.Namespace) -> int:
    """Write alert rules, dashboards, runbooks and examples of a deployment into a folder."""
    assets.write(options.directory, options.alerts_config, force=options.force)
    return 0


def _add_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--services", type=_positive, required=True, metavar="N", help="services in the project"
    )
    parser.add_argument(
        "--deployments-per-day",
        type=_above_zero,
        metavar="N",
        help="of all services together (default: one of each service)",
    )
    parser.add_argument(
        "--deployment", type=_positive_duration, default="10m", metavar="DURATION", help="how long one takes"
    )
    parser.add_argument(
        "--rate-limit",
        type=_above_zero,
        default="5",
        metavar="N",
        help="requests a second, of all shards together",
    )
    parser.add_argument(
        "--shards",
        type=_positive,
        metavar="N",
        help="processes that share the services (default: one for each 10,000)",
    )
    for name, default in (("interval", "30s"), ("active-interval", "10s"), ("sweep-interval", "5m")):
        parser.add_argument(
            f"--{name}",
            type=_positive_duration,
            default=default,
            metavar="DURATION",
            help=f"poll.{name.replace('-', '_')} of the config file",
        )
    parser.add_argument("--format", choices=["text", "json"], default="text", help="form of the output")


def _size(options: argparse.Namespace) -> int:
    """Compute requests, freshness, series and memory for a number of services."""
    load_of_project = Load(
        services=options.services,
        deployments_per_day=options.deployments_per_day or options.services,
        rate_limit=options.rate_limit,
        intervals=PollIntervals(options.interval, options.active_interval, options.sweep_interval),
        deployment=options.deployment,
        shards=options.shards or size.shards_for(options.services),
    )
    print(size.report(load_of_project, options.format))
    return 0


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=completion.SHELLS, help="bash, zsh or tcsh")


def _completion(options: argparse.Namespace) -> int:
    """Print the script with which a shell completes commands and flags."""
    parser = build_parser()
    _add_run_flags(parser)  # they need no command
    print(completion.script(parser, options.shell))
    return 0


COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]] = {
    "run": (_add_run, _run),
    "demo": (_add_demo, _demo),
    "emulate": (_add_emulate, _emulate),
    "check-config": (_add_check_config, _check_config),
    "doctor": (_add_doctor, _doctor),
    "once": (_add_once, _once),
    "wait": (_add_wait, _wait),
    "record": (_add_record, _record),
    "classify": (_add_classify, _classify),
    "backfill": (_add_backfill, _backfill),
    "assets": (_add_assets, _assets),
    "size": (_add_size, _size),
    "completion": (_add_completion, _completion),
}
