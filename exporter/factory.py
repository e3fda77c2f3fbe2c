"""From a configuration to what the program runs on; a reload keeps what the file did not change."""

from base64 import b64encode
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from hashlib import sha256
from typing import NamedTuple, TypeVar

from exporter.adapters.alertmanager import AlertmanagerClient
from exporter.adapters.http_client import HttpClient
from exporter.adapters.modelarts.api_client import Credential, OnAnswer, RequestMetrics
from exporter.adapters.modelarts.credentials import AccessKeyCredential, TokenFileCredential
from exporter.adapters.modelarts.iam import PasswordCredential
from exporter.adapters.modelarts.login_limiter import LoginLimiter
from exporter.adapters.modelarts.rate_limiter import RateLimiter
from exporter.adapters.modelarts.source import ModelArtsSource
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.config import Alertmanager as PushConfig
from exporter.config import BasicAuth, Config, Project
from exporter.core.accounting.apply_updates import CountingPolicy
from exporter.core.alerting.notifications import Alert, NotifierOptions
from exporter.core.classifier.classifier import Classifier, CustomRule
from exporter.core.links import LinkOptions
from exporter.core.polling.progress import Progress
from exporter.core.polling.schedule import PollIntervals
from exporter.core.polling.shard import RULE, Shard
from exporter.core.records import ServiceRow
from exporter.core.times import EpochMs
from exporter.engine.fetch import FetchPool
from exporter.engine.notifier import SendLoop
from exporter.engine.poller import Setup
from exporter.engine.project_poller import ProjectResources
from exporter.engine.project_state import ProjectSettings
from exporter.engine.reporter import Reporter
from exporter.engine.static_services import StaticServices

# What Prometheus gives an Alertmanager to answer.
_PUSH_TIMEOUT_SECONDS = 10.0


# The keys that decide how a request reaches the cloud.
_OF_THE_CONNECTION = ("tls", "proxy_url", "proxy_basic_auth")


class _Built(NamedTuple):
    """What was built for a project, and the section of the file that it was built from."""

    section: Project
    resources: ProjectResources
    credential: Credential
    rate_limiter: RateLimiter
    transport: HttpClient
    source: ModelArtsSource
    fetchers: FetchPool


class Access(NamedTuple):
    """What the requests of one project need beside a way to send them."""

    credential: Credential
    rate_limiter: RateLimiter
    metrics: RequestMetrics


Client = TypeVar("Client", bound=HttpClient)


def http_client(project: Project, kind: type[Client]) -> Client:
    """What sends the requests of a project: its timeout, trust and proxy."""
    return kind(
        project.timeout / 1000,
        _path(project.tls.ca_file),
        insecure_skip_verify=project.tls.insecure_skip_verify,
        proxy_url=project.proxy_url,
        proxy_login=_login(project.proxy_basic_auth),
    )


class ProjectFactory:
    """Builds what is needed to read each project, now and after each reload.

    Args:
        shard: which services are ours.
        metrics: the exporter's own metrics.
        clock: ms since the epoch.
        on_answer: is given each answer of the cloud, on the thread that sent the request.

    """

    def __init__(
        self,
        shard: Shard,
        metrics: SelfMetrics,
        clock: Callable[[], EpochMs],
        on_answer: OnAnswer | None = None,
    ) -> None:
        self._shard, self._metrics, self._clock, self._on_answer = shard, metrics, clock, on_answer
        self._built: dict[str, _Built] = {}
        # By user: projects with the same credential share one. They are kept for good, so that no reload
        # gives a refused user more tries than the cloud allows.
        self._login_limiters: dict[Hashable, LoginLimiter] = {}

    def setups(self, config: Config) -> list[Setup]:
        """The settings and the resources of each project; new threads run until they are stopped."""
        causes = classifier(config)
        before, self._built = self._built, {}
        for project in config.projects:
            self._built[project.name] = self._build(project, before.get(project.name))
        # A reload is how an operator says that a credential works now.
        for limiter in self._login_limiters.values():
            limiter.retry_now()
        return [
            (_settings(config, project, self._shard, causes), self._built[project.name].resources)
            for project in config.projects
        ]

    def _build(self, project: Project, before: _Built | None) -> _Built:
        if before is not None and _reads_alike(before.section, project):
            before.transport.timeout_seconds = project.timeout / 1000
            before.rate_limiter.limit(self._shard.share(project.rate_limit))
            before.fetchers.resize(project.concurrency)
            return before._replace(section=project)
        metrics = _ProjectMetrics(self._metrics, project.name)
        if before is not None and _same(before, project, *_OF_THE_CONNECTION):
            transport = before.transport
            transport.timeout_seconds = project.timeout / 1000
        else:
            transport = http_client(project, HttpClient)
        # What was learned of the cloud stays true, whatever else the file changed.
        learned = before if before and _same(before, project, "endpoint", "project_id") else None
        rate_limiter = RateLimiter(
            self._shard.share(project.rate_limit), after=learned and learned.rate_limiter
        )
        known = before.credential if before and _same(before, project, "project_id", "auth") else None
        if known is not None and before is not None and transport is before.transport:
            credential = known
        else:
            credential = self._credential(project, transport, metrics, known)
        source = ModelArtsSource(
            project.endpoint,
            project.project_id,
            project.workspaces,
            credential,
            rate_limiter=_CountedLimiter(rate_limiter, self._shard, self._metrics, project.name),
            metrics=metrics,
            clock=self._clock,
            transport=transport,
            on_answer=self._on_answer,
            after=learned and learned.source,
        )
        fetchers = FetchPool(f"fetch-{project.name}", project.concurrency)
        resources = ProjectResources(
            source if project.discovery else StaticServices(source, project.services.ids),
            fetchers,
            rate_limiter.stop,
            rate_limiter.rate,
            rate_limiter.has_spare,
        )
        return _Built(project, resources, credential, rate_limiter, transport, source, fetchers)

    def listing(self, name: str) -> Progress | None:
        """How far the list of a project is that is being read, None if nobody knows; any thread may ask."""
        built = self._built.get(name)
        return built.source.listing if built is not None else None

    def access(self, project: Project, transport: HttpClient, *, domain_scope: bool = False) -> Access:
        """What a command needs that asks a project by itself.

        `domain_scope`: a user's password gets a token of its domain. It is tried at once, though still at
        most four times in five minutes.
        """
        metrics = _ProjectMetrics(self._metrics, project.name)
        credential = self._credential(project, transport, metrics, None, domain_scope=domain_scope)
        return Access(credential, RateLimiter(project.rate_limit), metrics)

    def _credential(
        self,
        project: Project,
        transport: HttpClient,
        metrics: "_ProjectMetrics",
        before: Credential | None,
        *,
        domain_scope: bool = False,
    ) -> Credential:
        auth = project.auth
        if auth.password is not None:
            user = auth.password
            limiter = self._login_limiter(user.iam_endpoint, user.domain, user.username)
            if domain_scope:
                limiter.retry_now()
            return PasswordCredential(
                user.iam_endpoint,
                user.domain,
                user.username,
                user.read_password,
                None if domain_scope else project.project_id,
                limiter=limiter,
                transport=transport,
                metrics=metrics,
                clock=self._clock,
                after=before if isinstance(before, PasswordCredential) else None,
            )
        if auth.aksk is not None:
            key = auth.aksk
            temporary = key.security_token is not None or key.security_token_file is not None
            return AccessKeyCredential(
                key.access_key,
                key.read_secret_key,
                (lambda: key.read_security_token() or "") if temporary else None,
                project.project_id,
                limiter=self._login_limiter("aksk", key.access_key),
                clock=self._clock,
            )
        assert auth.token_file is not None, "validation left exactly one of the three"
        return TokenFileCredential(
            auth.token_file.read,
            limiter=self._login_limiter("token", str(auth.token_file.path)),
        )

    def _login_limiter(self, *user: str) -> LoginLimiter:
        return self._login_limiters.setdefault(user, LoginLimiter())


def _same(before: _Built, project: Project, *keys: str) -> bool:
    return all(getattr(before.section, key) == getattr(project, key) for key in keys)


def _reads_alike(before: Project, project: Project) -> bool:
    """Whether what reads by one section can go on by the other: at most its pace and the filter differ."""
    changeable = ["timeout", "rate_limit", "concurrency"]
    if project.discovery:
        changeable.append("services")
    return before == project.model_copy(update={key: getattr(before, key) for key in changeable})


def _settings(config: Config, project: Project, shard: Shard, causes: Classifier) -> ProjectSettings:
    return ProjectSettings(
        name=project.name,
        project_id=project.project_id,
        endpoint=project.endpoint,
        selection=_selection(project, shard),
        wants=partial(_wants, project, shard),
        intervals=PollIntervals(
            config.poll.interval, config.poll.active_interval, config.poll.sweep_interval
        ),
        policy=CountingPolicy(
            lateness=config.poll.lateness,
            # Between two sweeps nobody looked; a guess no worse than that is worth a duration.
            longest_guess=config.poll.sweep_interval,
            count_history=config.history == "count",
        ),
        classifier=causes,
        concurrency=project.concurrency,
        resolve_delay=config.alertmanager.resend_interval if config.alertmanager else 0,
    )


def classifier(config: Config) -> Classifier:
    """The one of the configured causes and the built-in ones."""
    return Classifier(
        [CustomRule(cause.reason, cause.pattern.pattern, cause.remedy) for cause in config.causes]
    )


def _wants(project: Project, shard: Shard, row: ServiceRow) -> bool:
    return shard.has(row.service_id) and project.services.wants(
        row.service_id, row.service_name, row.infer_type
    )


def _selection(project: Project, shard: Shard) -> str:
    """A fingerprint of which services are asked for."""
    services = project.services
    asked = (
        sorted(project.workspaces),
        project.discovery,
        sorted(services.ids),
        sorted(pattern.pattern for pattern in services.include_names),
        sorted(pattern.pattern for pattern in services.exclude_names),
        sorted(services.infer_types),
        shard.index,
        shard.total,
        # What another rule gave to this shard is no more news than what another number of shards would.
        *([RULE] if shard.total > 1 else []),
    )
    return sha256(repr(asked).encode()).hexdigest()


def _login(auth: BasicAuth | None) -> Callable[[], tuple[str, str]] | None:
    return None if auth is None else auth.login


def _path(path: object | None) -> str | None:
    return None if path is None else str(path)


def link_options(config: Config, external_url: str) -> LinkOptions:
    """Where alerts and pages lead to."""
    links = config.links
    return LinkOptions(
        external_url.rstrip("/"),
        links.runbooks_url or "",
        links.grafana_url or "",
        links.console_url or "",
        links.prometheus_url or "",
    )


def notifier_options(config: Config, external_url: str) -> NotifierOptions | None:
    """How alerts are pushed; None if they are not."""
    wanted = config.alertmanager
    if wanted is None:
        return None
    return NotifierOptions(
        wanted.labels,
        link_options(config, external_url),
        classifier(config),
        wanted.resend_interval,
        wanted.cause_wait,
        wanted.severity,
    )


def send_loops(
    config: Config,
    how: NotifierOptions | None,
    alerts: Callable[[], Mapping[tuple[str, str], Alert]],
    metrics: SelfMetrics,
    reporter: Reporter,
    clock: Callable[[], int],
    on_bug: Callable[[BaseException], None],
) -> list[SendLoop]:
    """One for each Alertmanager; they send from `start` on."""
    wanted = config.alertmanager
    if wanted is None or how is None:
        return []
    return [
        SendLoop(
            name,
            AlertmanagerClient(
                url,
                HttpClient(
                    _PUSH_TIMEOUT_SECONDS,
                    _path(wanted.tls.ca_file),
                    insecure_skip_verify=wanted.tls.insecure_skip_verify,
                    proxy_url=wanted.proxy_url,
                    proxy_login=_login(wanted.proxy_basic_auth),
                ),
                partial(_authorization, wanted),
            ),
            alerts,
            how,
            metrics,
            reporter,
            clock,
            on_bug,
        )
        for name, url in zip(alertmanagers(config), wanted.urls, strict=True)
    ]


def alertmanagers(config: Config) -> tuple[str, ...]:
    """What tells the Alertmanagers apart in the metrics: their URLs, which hold no secrets."""
    return config.alertmanager.urls if config.alertmanager else ()


def _authorization(wanted: PushConfig) -> Mapping[str, str]:
    if wanted.bearer_token_file is not None:
        return {"Authorization": f"Bearer {wanted.bearer_token_file.read()}"}
    if wanted.basic_auth is not None:
        user = f"{wanted.basic_auth.username}:{wanted.basic_auth.read_password()}"
        return {"Authorization": f"Basic {b64encode(user.encode()).decode()}"}
    return {}


class _ProjectMetrics:
    """The exporter's metrics as one project's client sees them."""

    def __init__(self, metrics: SelfMetrics, project: str) -> None:
        self.request = partial(metrics.request, project)
        self.clock_skew = partial(metrics.clock_skew, project)
        self.token_expiry = partial(metrics.token_expiry, project)


class _CountedLimiter:
    """A rate limiter that also counts the 429 answers, and takes our share of the rate that they name."""

    def __init__(self, rate_limiter: RateLimiter, shard: Shard, metrics: SelfMetrics, project: str) -> None:
        self._rate_limiter, self._shard = rate_limiter, shard
        self._throttled = partial(metrics.throttled, project)
        self.enter = rate_limiter.enter

    def throttled(self, wait_seconds: float | None, allowed_per_second: float | None) -> None:
        """The cloud answered 429."""
        self._throttled()
        allowed = None if allowed_per_second is None else self._shard.share(allowed_per_second)
        self._rate_limiter.throttled(wait_seconds, allowed)
