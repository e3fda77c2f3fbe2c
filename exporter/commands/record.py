"""The command `record`: polls as the exporter does, and writes what the cloud answered, anonymised."""

import json
import os
import re
import secrets
import signal
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from threading import Lock, Timer
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import parse_qsl, urlsplit

from structlog.typing import FilteringBoundLogger

from exporter.adapters.http_client import Answer
from exporter.adapters.modelarts.rate_limiter import monotonic_ms
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.store.database import Store
from exporter.app import VERSION, exposition, now_ms, revision
from exporter.commands.progress import ProgressLine, first_reads_line
from exporter.config import Config, load
from exporter.core.formats import length
from exporter.core.polling.shard import Shard
from exporter.core.recording.anonymiser import Anonymiser, Changes
from exporter.core.scrub import printable
from exporter.engine.poller import Poller
from exporter.engine.reporter import Reporter
from exporter.engine.snapshot import Publisher
from exporter.factory import ProjectFactory
from exporter.log import LogOutput

INTERRUPTED = 130  # as a shell calls a program that SIGINT has ended

# What is before it, such as the path of a proxy, is not the API's.
_API_PATH = re.compile(r"/v1/[^/]+/services(?:/(?P<about>.+))?$")

# Of what was replaced; keys that the cloud made up could be any number.
_CHANGES_TOLD = 60


class Recorder:
    """Writes each answer as one line of JSON. Threads may share it; a context manager that closes the file.

    An answer that says the same as the one before is left out: a replay shows the last one until another
    comes.
    """

    def __init__(self, file: Path, anonymiser: Anonymiser, clock: Callable[[], int]) -> None:
        """Open the file, for its owner alone. Raises `OSError`."""
        self._file, self._anonymiser, self._clock = file, anonymiser, clock
        self._lock = Lock()
        self._last: dict[tuple[str, str], tuple[int, dict[str, bytes]]] = {}
        self.answers: Counter[int] = Counter()  # written, by status
        self.repeated = 0
        self.answered: set[str] = set()  # with a 200: service ids, and further parts of paths
        self.bytes = 0
        self.changes: Changes = Counter()
        self._descriptor: int | None = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.fchmod(self._descriptor, 0o600)  # it may have existed, open to others

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None

    def on_answer(self, url: str, answer: Answer) -> None:
        """Write an answer to a GET. Raises `OSError`."""
        parts = urlsplit(url)
        found = _API_PATH.search(parts.path)
        assert found is not None, "the client asks for nothing else"
        with self._lock:
            if self._descriptor is None:  # it came after the end
                return
            changes: Changes = Counter()
            entry = {
                "method": "GET",
                "path": self._anonymiser.path(found[0]),
                "query": self._anonymiser.query(dict(parse_qsl(parts.query, keep_blank_values=True))),
                "status": answer.status,
                "headers": self._anonymiser.headers(answer.headers, changes),
                "body": self._anonymiser.body(_parsed(answer.body), changes),
            }
            if answer.status == 200:
                self.answered.add(found["about"] or "")
            if not self._is_news(entry):
                self.repeated += 1
                return
            self._write({"at_ms": self._clock(), **entry})
            self.answers[answer.status] += 1
            self.changes += changes

    def _write(self, entry: Mapping[str, Any]) -> None:
        assert self._descriptor is not None
        line = (json.dumps(entry, separators=(",", ":"), ensure_ascii=True) + "\n").encode()
        self.bytes += len(line)
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except OSError as error:
                raise OSError(f"cannot write {self._file}: {error.strerror}") from error

    def _is_news(self, entry: Mapping[str, Any]) -> bool:
        """Whether a replay of what is written already would show something else."""
        subject = entry["path"], entry["query"].get("workspace_id", "")
        query = json.dumps(entry["query"])
        headers = {name: value for name, value in entry["headers"].items() if name != "Date"}
        content = sha256(json.dumps([headers, entry["body"]]).encode()).digest()
        status, known = self._last.get(subject, (0, {}))
        if status == entry["status"] and known.get(query) == content:
            return False
        if status != entry["status"] or query in known:
            known = {}  # what is said now replaces all that was said before
        self._last[subject] = entry["status"], {**known, query: content}
        return True


def _parsed(body: bytes) -> Any:
    """JSON, or else the text itself."""
    text = body.decode("utf-8-sig", errors="replace")
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text


def _no_number(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


def run(
    config_file: str,
    output_file: str,
    milliseconds: int,
    service_ids: Sequence[str],
    log: FilteringBoundLogger,
    log_output: LogOutput,
) -> int:
    """Record for so long, or until SIGINT or SIGTERM; a summary goes to stderr.

    Returns 0; 130 after SIGINT; 1 if there was no answer at all, or none about one of `service_ids`.
    """
    with _Signals() as signals:
        config = _only(load(config_file, os.environ), service_ids)
        names = [project.name for project in config.projects]
        metrics = SelfMetrics(names, [], version=VERSION, revision=revision())
        publisher = Publisher(exposition(config))
        with (
            closing(Store.open("")) as store,
            Recorder(Path(output_file), _anonymiser(config), now_ms) as recorder,
        ):
            poller = Poller(store, publisher, Reporter(log, metrics), clock=now_ms, ticks=monotonic_ms)
            poller.configure(ProjectFactory(Shard(), metrics, now_ms, recorder.on_answer).setups(config))
            timer = Timer(milliseconds / 1000, poller.stop)
            timer.daemon = True
            timer.start()
            signals.end_by(poller.stop)
            end = monotonic_ms() + milliseconds

            def shown() -> str:
                left = length(max(end - monotonic_ms(), 0) // 1000)
                return f"{first_reads_line(publisher.snapshot.projects)}; recording for {left} more"

            with ProgressLine(shown, log_output):
                poller.run()
            timer.cancel()
    log_output.close()  # the summary comes last
    missing = [each for each in service_ids if each not in recorder.answered]
    for project in publisher.snapshot.projects:
        if not project.up:
            print(f"{project.name}: {project.error or 'was not listed'}", file=sys.stderr)
    for each in missing:
        print(f"{each}: no project has shown this service.", file=sys.stderr)
    for line in _summary(recorder, output_file):
        print(line, file=sys.stderr)
    if signal.SIGINT in signals.received:
        return INTERRUPTED
    return 1 if missing or not recorder.answers else 0


class _Signals:
    """Takes SIGINT and SIGTERM while it is entered."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._end: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._before = [(number, signal.signal(number, self._receive)) for number in numbers]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)

    def end_by(self, end: Callable[[], None]) -> None:
        """Call `end` at each signal, and now if there was one."""
        self._end = end
        if self.received:
            end()

    def _receive(self, number: int, _: object) -> None:
        self.received.append(number)
        if self._end is not None:
            self._end()


def _only(config: Config, service_ids: Sequence[str]) -> Config:
    """The same with these services and no others; none: all that it has.

    They are not found by a list, which would bring all others along.
    """
    if not service_ids:
        return config
    projects = tuple(
        each.model_copy(
            update={
                "discovery": False,
                "services": type(each.services)(ids=tuple(dict.fromkeys(service_ids))),
            }
        )
        for each in config.projects
    )
    return config.model_copy(update={"projects": projects})


def _anonymiser(config: Config) -> Anonymiser:
    hidden: list[str] = []
    users: list[str] = []
    ids: list[str] = []
    for project in config.projects:
        ids += [project.project_id, *project.services.ids, *project.workspaces]
        auth = project.auth
        with suppress(OSError):  # the first request says what is wrong with it
            if auth.password is not None:
                users += [auth.password.username, auth.password.domain]
                hidden.append(auth.password.read_password())
            elif auth.aksk is not None:
                hidden += [auth.aksk.access_key, auth.aksk.read_secret_key()]
                hidden.append(auth.aksk.read_security_token() or "")
            elif auth.token_file is not None:
                hidden.append(auth.token_file.read())
        with suppress(OSError):
            if project.proxy_basic_auth is not None:
                users.append(project.proxy_basic_auth.username)
                hidden.append(project.proxy_basic_auth.read_password())
    return Anonymiser(secrets.token_bytes(32), hidden, users, ids)


def _summary(recorder: Recorder, file: str) -> Iterator[str]:
    by_status = ", ".join(f"{count} with {status}" for status, count in sorted(recorder.answers.items()))
    size = f"{recorder.bytes / 1000:.1f} kB"
    yield f"{file}: {recorder.answers.total()} answers ({by_status or 'none'}), {size}."
    yield f"{recorder.repeated} answers that said nothing new were not written."
    if recorder.changes:
        yield "Left out or replaced, how often:"
    told = sorted(recorder.changes.items())
    for (path, what), number in told[:_CHANGES_TOLD]:
        yield f"  {printable(path)}: {what}, {number}"
    if len(told) > _CHANGES_TOLD:
        yield f"  and {len(told) - _CHANGES_TOLD} more fields"
    yield "Look through it before you give it to others: see docs/recordings.md."
