"""The running program: store, poller and web server, built from a configuration and ended in order."""

import os
import platform
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import NamedTuple, TypeVar

from structlog.typing import FilteringBoundLogger

from exporter.adapters.modelarts.rate_limiter import monotonic_ms
from exporter.adapters.prometheus.exposition import Exposition
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.store.database import Store
from exporter.adapters.store.errors import StoreError
from exporter.adapters.web.app import WebApp
from exporter.adapters.web.server import WebServer
from exporter.config import Config, ConfigError, load, to_public_yaml, warnings
from exporter.config.web import WebConfig, WebConfigWatch
from exporter.core.alerting.notifications import ALERTNAME
from exporter.core.metrics.families import PROJECT_FAMILIES, Options, service_families
from exporter.core.metrics.family import Family
from exporter.core.pages.overview import unfinished
from exporter.core.polling.progress import told
from exporter.core.polling.shard import Shard
from exporter.core.records import ABNORMAL
from exporter.core.service_lookup import is_service_id
from exporter.core.times import EpochMs
from exporter.engine.notifier import SendLoop
from exporter.engine.poller import Poller
from exporter.engine.reporter import Reporter
from exporter.engine.snapshot import Publisher
from exporter.factory import (
    ProjectFactory,
    alertmanagers,
    classifier,
    link_options,
    notifier_options,
    send_loops,
)
from exporter.log import LogOutput

# Three intervals without a turn of the loop, and at least this long, is a loop that hangs. A commit of
# ten thousand services on a slow disk takes seconds.
_SHORTEST_HANG_MS = 30_000

# Stopping takes 5 s at most: 3 for the poll loop, 1 for the web server, 1 to notice the signal and to exit.
_FINISH_SECONDS = 3.0

# A signal just before `wait` may be missed, so the main thread checks once a second.
_LOOK_UP_SECONDS = 1.0

VERSION = version("modelarts-exporter")

T = TypeVar("T")


def now_ms() -> EpochMs:
    """Milliseconds since the epoch."""
    return EpochMs(time.time_ns() // 1_000_000)


def revision() -> str:
    """The source's revision, as the image was told; "" elsewhere."""
    return os.environ.get("MODELARTS_EXPORTER_REVISION", "")


def version_line() -> str:
    """What `--version` says."""
    built = f", revision {revision()}" if revision() else ""
    return f"modelarts-exporter {VERSION} (python {platform.python_version()}{built})"


def await_signal(asked: Event) -> None:
    """Block the main thread until a signal's handler, or another thread, has set `asked`."""
    while not asked.wait(_LOOK_UP_SECONDS):
        pass


class RunOptions(NamedTuple):
    """The flags of `run`; see the command line."""

    config_file: str
    listen: tuple[str, ...] = (":10155",)
    telemetry_path: str = "/metrics"
    web_config_file: str = ""
    lifecycle: bool = False
    max_requests: int = 40
    storage_path: str = "data/"
    shard: Shard = Shard()
    external_url: str = ""


class Exporter:
    """One exporter.

    Raises:
        ConfigError: the configuration or the web configuration.
        StoreError: the store.
        OSError: an address to listen at.

    """

    def __init__(
        self, options: RunOptions, log: FilteringBoundLogger, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._options, self._log, self._environ = options, log, environ
        self._web_config = WebConfigWatch(
            options.web_config_file,
            self._replace_web_config,
            lambda reason: log.error("web config refused; the old one stays in force", error=reason),
        )
        config, web_config = self._load()
        self._https = web_config.tls is not None
        names = [project.name for project in config.projects]
        self._metrics = SelfMetrics(names, alertmanagers(config), version=VERSION, revision=revision())
        self._metrics.shard(options.shard.index, options.shard.total)
        self._metrics.reload(ok=True, epoch_seconds=now_ms() / 1000)
        self._store = Store.open(options.storage_path)
        self._publisher = Publisher(exposition(config), self._alerts_changed)
        self._config = config
        self._classifier = classifier(config)
        self._reporter = Reporter(log, self._metrics)
        self._factory = ProjectFactory(options.shard, self._metrics, now_ms)
        self._send_loops: list[SendLoop] = []
        self._options_of_alerts = notifier_options(config, self._external_url())
        self.poller = Poller(self._store, self._publisher, self._reporter, clock=now_ms, ticks=monotonic_ms)
        self._reloading = Lock()
        self._stop = Event()
        self._failure: BaseException | None = None
        self._loop = Thread(target=self._run_loop, name="poll-loop", daemon=True)
        self._app = WebApp(
            snapshot=lambda: self._publisher.snapshot,
            on_scraped=self.poller.scraped,
            render_self_metrics=self._metrics.render,
            healthy=self.healthy,
            ready=self.ready,
            reload=self.reload if options.lifecycle else None,
            read_now=self.poller.read_now if options.lifecycle else None,
            elsewhere=self._elsewhere,
            history=self.poller.history,
            updates=self.poller.updates,
            configuration=lambda: to_public_yaml(self._config),
            links=lambda: link_options(self._config, self._external_url()),
            clock=now_ms,
            remedy=self._remedy,
            version=VERSION,
            telemetry_path=options.telemetry_path,
            max_requests=options.max_requests,
        )
        self._web = WebServer(
            options.listen,
            self._app,
            web_config,
            look=self._web_config.look,
            on_error=lambda text: log.error("request failed", error=text),
        )

    # --- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Load what is stored, show it, listen, and begin to poll."""
        self._apply(self._config, before=None)
        self._metrics.store_size(self._store.size())
        self._web.start()
        self._loop.start()
        for address in self._web.addresses:
            self._log.info("listening", address=address)
        if not (self._options.external_url or self._config.links.external_url):
            self._log.warning(
                "no external URL is configured; links lead to this machine's name",
                external_url=self._external_url(),
                remedy="set links.external_url or --web.external-url",
            )

    @property
    def addresses(self) -> list[str]:
        """Where the web server listens."""
        return self._web.addresses

    def count_lost_lines(self, output: LogOutput) -> None:
        """Count in the metrics the log lines that could not be written, also those of before."""
        output.count_errors(self._metrics.log_error)

    def ask_to_stop(self) -> None:
        """Let `wait` return; safe in a signal handler."""
        self._stop.set()

    def wait(self) -> None:
        """Block until asked to stop."""
        await_signal(self._stop)

    def raise_failure(self) -> None:
        """Raise what ended a thread, a bug of ours; nothing if all is well."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Finish the commit under way and let everything go."""
        self.poller.stop()
        if self._loop.is_alive():
            self._loop.join(_FINISH_SECONDS)
        for send_loop in self._send_loops:
            send_loop.stop()
        self._web.stop()
        if not self._loop.is_alive():
            self._store.close()

    def _run_loop(self) -> None:
        try:
            self.poller.run()
        except BaseException as error:  # noqa: BLE001 - a bug of ours ends the process, in the main thread
            self.fail(error)

    def fail(self, error: BaseException | None) -> None:
        """End with this error, a bug of ours; any thread may call it."""
        self._failure = self._failure or error or RuntimeError("A thread failed.")
        self._stop.set()

    # --- configuration -----------------------------------------------------------------------------

    def _load(self) -> tuple[Config, WebConfig]:
        return load(self._options.config_file, self._environ), self._web_config.load()

    def reload(self) -> tuple[bool, str]:
        """Read both configurations anew; a wrong one leaves the old ones in force."""
        with self._reloading:  # one after the other, so that the last one asked for reads the newest file
            try:
                config, web_config = self._load()
                self._web.configure(web_config)
                self._https = web_config.tls is not None
            except (ConfigError, OSError, ValueError) as error:
                return self._refuse(error)
            answers: SimpleQueue[bool | StoreError] = SimpleQueue()
            self.poller.tell(partial(self._replace, config, answers))
            while (shown := _within(answers, _LOOK_UP_SECONDS)) is None:
                if self._stop.is_set():
                    return False, "The exporter is stopping."
            if isinstance(shown, StoreError):
                return self._refuse(shown)
            self._metrics.reload(ok=True, epoch_seconds=now_ms() / 1000)
            self._log.info("reloaded", projects=len(config.projects))
            if not shown:
                return True, "The configuration is in force; nothing is shown until the store can be written."
            return True, "The configuration is in force."

    def _refuse(self, error: Exception) -> tuple[bool, str]:
        self._metrics.reload(ok=False, epoch_seconds=now_ms() / 1000)
        self._log.error("reload failed; the old configuration stays in force", error=str(error))
        return False, str(error)

    def _replace_web_config(self, web_config: WebConfig) -> None:
        self._web.configure(web_config)
        self._log.info("web config reloaded")

    def _replace(self, config: Config, answers: SimpleQueue[bool | StoreError]) -> None:
        try:
            self.poller.check((project.name, project.project_id) for project in config.projects)
        except StoreError as error:  # the old configuration goes on, and so does what is shown
            answers.put(error)
            return
        before, self._config = self._config, config
        answers.put(self._apply(config, before))

    def _apply(self, config: Config, before: Config | None) -> bool:
        """Poll, show and push by this configuration from now on; what did not change since `before` goes on.

        Returns whether it is shown; see `Poller.configure`.
        """
        for sentence in warnings(config):
            self._log.warning("the configuration may be wrong", warning=sentence)
        self._classifier = classifier(config)
        alerts_changed = before is None or (before.alertmanager, before.causes, before.links) != (
            config.alertmanager,
            config.causes,
            config.links,
        )
        if alerts_changed:
            self._options_of_alerts = notifier_options(config, self._external_url())
        if alerts_changed or before is None or before.metrics != config.metrics:
            self._publisher.show_on(exposition(config), self._options_of_alerts)
        self._metrics.external_url(self._external_url())
        self._metrics.retain([project.name for project in config.projects], alertmanagers(config))
        for project in config.projects:
            self._metrics.poll_interval(project.name, config.poll.interval / 1000)
        self._log_share(config, before)
        shown = self.poller.configure(self._factory.setups(config), config.store.keep_deleted)
        if alerts_changed:
            self._push_to(config)
        return shown

    def _log_share(self, config: Config, before: Config | None) -> None:
        """Say how many requests are ours, where shards share the limit of a project."""
        shard, limits = self._options.shard, {} if before is None else _rate_limits(before)
        for name, limit in _rate_limits(config).items():
            if shard.total > 1 and limits.get(name) != limit:
                self._log.info(
                    "the rate limit is shared by all shards",
                    project=name,
                    shard=f"{shard.index} of {shard.total}",
                    requests_per_second=round(shard.share(limit), 3),
                )

    def _push_to(self, config: Config) -> None:
        for loop in self._send_loops:
            loop.stop()
        self._send_loops = send_loops(
            config,
            self._options_of_alerts,
            self.poller.alerts,
            self._metrics,
            self._reporter,
            now_ms,
            self.fail,
        )
        self._alerts_changed()
        for loop in self._send_loops:
            loop.start()

    def _alerts_changed(self) -> None:
        firing = [alert for alert in self._publisher.snapshot.alerts.values() if alert.resolved_at is None]
        self._metrics.alerts_firing(ALERTNAME, len(firing))
        for loop in self._send_loops:
            loop.wake()

    def _external_url(self) -> str:
        """Where readers find the pages: as configured, or by this machine's name, as Prometheus does."""
        configured = self._options.external_url or self._config.links.external_url
        if configured:
            return configured
        scheme = "https" if self._https else "http"
        return f"{scheme}://{socket.gethostname()}:{self._options.listen[0].rpartition(':')[2]}"

    # --- what the web server asks ------------------------------------------------------------------

    def healthy(self) -> tuple[bool, str]:
        """Whether the poll loop ticked within three intervals."""
        silent = monotonic_ms() - self.poller.ticked_at
        if silent > max(3 * self._config.poll.interval, _SHORTEST_HANG_MS):
            return False, f"The poll loop has not ticked for {silent // 1000} s."
        return True, "The poll loop ticks."

    def ready(self) -> tuple[bool, str]:
        """Whether every project was listed once, or has said why not."""
        listed = {
            (project.name, project.project_id)
            for project in self._publisher.snapshot.projects
            if project.up is not None
        }
        # While nothing can be written, a project that a reload has added or changed is not shown at all.
        wanted = self._config.projects
        waiting = [project.name for project in wanted if (project.name, project.project_id) not in listed]
        reason = (
            f"Not listed yet: {', '.join(waiting)}."
            if waiting
            else "Every project was listed, or has failed and said so."
        )
        return not waiting, "\n".join([reason, *self._lists(waiting), *self._first_reads()])

    def _lists(self, projects: Iterable[str]) -> Iterator[str]:
        """How far the list of each of these is, where that is known."""
        for name in projects:
            if (progress := self._factory.listing(name)) is not None:
                yield f"Project {name}: {told(progress, now_ms(), 'services listed')}."

    def _first_reads(self) -> Iterator[str]:
        """How far each project is of which not all services were read yet."""
        for project in self._publisher.snapshot.projects:
            if (progress := unfinished(project)) is not None:
                yield f"Project {project.name}: {told(progress, now_ms())}."

    def _elsewhere(self, wanted: str) -> str:
        shard = self._options.shard
        if shard.total == 1:
            return ""
        # An id tells its shard; of a name that is not known here nothing can be told.
        where = "may belong" if shard.has(wanted) or not is_service_id(wanted) else "belongs"
        return f"This is shard {shard.index} of {shard.total}; the service {where} to another shard."

    def _remedy(self, text: str) -> str:
        return self._classifier.classify(ABNORMAL, text).remedy


def _within(answers: SimpleQueue[T], seconds: float) -> T | None:
    """The next answer; None if there is none in this time."""
    try:
        return answers.get(timeout=seconds)
    except Empty:
        return None


def _rate_limits(config: Config) -> dict[str, float]:
    return {project.name: project.rate_limit for project in config.projects}


def families_of_services(config: Config) -> tuple[Family, ...]:
    """The families of services that the configuration wants."""
    options = Options(failure_message=config.metrics.failure_message, edge_nodes=config.metrics.edge_nodes)
    return service_families(options)


def exposition(config: Config) -> Exposition:
    """An empty exposition of the families that the configuration wants."""
    return Exposition(families_of_services(config), PROJECT_FAMILIES)


def run(
    options: RunOptions,
    log: FilteringBoundLogger,
    log_output: LogOutput,
    started: Callable[[Exporter], None] | None = None,
) -> int:
    """Run until SIGTERM or SIGINT; SIGHUP reloads. Returns the exit code; raises what ended it otherwise."""
    stop, reload_soon = Event(), Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: reload_soon.set())
    program = Exporter(options, log)
    program.count_lost_lines(log_output)
    log.info(
        "starting",
        version=VERSION,
        config=options.config_file,
        web_config=options.web_config_file or "none",
        store=options.storage_path or "memory",
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: program.ask_to_stop())
    # A reload reads files and waits for the loop: not in a signal handler.
    signal.signal(signal.SIGHUP, lambda *_: Thread(target=program.reload, daemon=True).start())
    # A thread that fails ends the process, whosever it is: a program that lacks one looks well and is not.
    threading.excepthook = lambda failed: program.fail(failed.exc_value)
    try:
        program.start()
        if stop.is_set():
            program.ask_to_stop()
        if reload_soon.is_set():
            program.reload()
        if started is not None:
            started(program)
        program.wait()
    finally:
        program.stop()
    program.raise_failure()
    log.info("stopped")
    return 0
