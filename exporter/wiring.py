"""From a configuration to the lanes that the poller works on."""

from base64 import b64encode
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from hashlib import sha256

from exporter.adapters.alertmanager import Alertmanager
from exporter.adapters.cloud.conversation import Credential
from exporter.adapters.cloud.credentials import AccessKeyCredential, TokenFileCredential
from exporter.adapters.cloud.gate import Gate
from exporter.adapters.cloud.guard import Guard
from exporter.adapters.cloud.iam import PasswordCredential
from exporter.adapters.cloud.modelarts import ModelArts
from exporter.adapters.telemetry import Telemetry
from exporter.adapters.transport import Transport
from exporter.config import Alertmanager as PushConfig
from exporter.config import Config, Project
from exporter.core.causes import Classifier, Rule
from exporter.core.pushes import Alerting, Push
from exporter.core.records import ServiceRow
from exporter.core.schedule import Pace
from exporter.core.source import Source
from exporter.core.updates import Policy
from exporter.course import Lane
from exporter.fetching import Threads
from exporter.named import NamedServices
from exporter.project import Settings
from exporter.pushing import Peer
from exporter.teller import Teller

# What Prometheus gives an Alertmanager to answer.
_PUSH_TIMEOUT_SECONDS = 10.0


class Shard:
    """One of `total` exporters that share a fleet; each service belongs to exactly one of them."""

    def __init__(self, index: int = 0, total: int = 1) -> None:
        self.index, self.total = index, total

    def has(self, service_id: str) -> bool:
        """Whether the service is ours."""
        digest = sha256(service_id.encode("utf-8", "replace")).digest()
        return int.from_bytes(digest[:8]) % self.total == self.index


def lanes(config: Config, shard: Shard, telemetry: Telemetry, clock: Callable[[], int]) -> list[Lane]:
    """A lane for each project; its threads run from now on, until it is stopped.

    Projects with the same credential share one guard: refusals are counted by the key, not by who used it.
    """
    guards: dict[Hashable, Guard] = {}
    causes = classifier(config)
    return [_lane(config, project, shard, causes, guards, telemetry, clock) for project in config.projects]


def classifier(config: Config) -> Classifier:
    """The one of the configured causes and the built-in ones."""
    return Classifier([Rule(cause.reason, cause.pattern.pattern, cause.remedy) for cause in config.causes])


def _lane(
    config: Config,
    project: Project,
    shard: Shard,
    classifier: Classifier,
    guards: dict[Hashable, Guard],
    telemetry: Telemetry,
    clock: Callable[[], int],
) -> Lane:
    gate = Gate(project.rate_limit)
    counted = _Telemetry(telemetry, project.name)
    transport = Transport(
        project.timeout / 1000,
        _path(project.tls.ca_file),
        insecure_skip_verify=project.tls.insecure_skip_verify,
        proxy_url=project.proxy_url,
    )
    source: Source = ModelArts(
        project.endpoint,
        project.project_id,
        project.workspaces,
        _credential(project, guards, transport, counted, clock),
        gate=_CountedGate(gate, telemetry, project.name),
        telemetry=counted,
        clock=clock,
        timeout_seconds=project.timeout / 1000,
        ca_file=_path(project.tls.ca_file),
        insecure_skip_verify=project.tls.insecure_skip_verify,
        proxy_url=project.proxy_url,
    )
    if not project.discovery:
        source = NamedServices(source, project.services.ids)
    return Lane(
        Settings(
            name=project.name,
            project_id=project.project_id,
            endpoint=project.endpoint,
            selection=_selection(project, shard),
            wants=partial(_wants, project, shard),
            pace=Pace(config.poll.interval, config.poll.active_interval, config.poll.sweep_interval),
            policy=Policy(
                lateness=config.poll.lateness,
                # Between two sweeps nobody looked; a guess no worse than that is worth a duration.
                longest_guess=config.poll.sweep_interval,
                count_history=config.history == "count",
            ),
            classifier=classifier,
            concurrency=project.concurrency,
            alarm_settling=config.alertmanager.resend_interval if config.alertmanager else 0,
        ),
        source,
        Threads(f"fetch-{project.name}", project.concurrency),
        gate.stop,
        gate.rate,
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
    )
    return sha256(repr(asked).encode()).hexdigest()


def _credential(
    project: Project,
    guards: dict[Hashable, Guard],
    transport: Transport,
    telemetry: "_Telemetry",
    clock: Callable[[], int],
) -> Credential:
    auth = project.auth
    if auth.password is not None:
        user = auth.password
        return PasswordCredential(
            user.iam_endpoint,
            user.domain,
            user.username,
            user.read_password,
            project.project_id,
            guard=guards.setdefault((user.iam_endpoint, user.domain, user.username), Guard()),
            transport=transport,
            telemetry=telemetry,
            clock=clock,
        )
    if auth.aksk is not None:
        key = auth.aksk
        temporary = key.security_token is not None or key.security_token_file is not None
        return AccessKeyCredential(
            key.access_key,
            key.read_secret_key,
            (lambda: key.read_security_token() or "") if temporary else None,
            project.project_id,
            guard=guards.setdefault(("aksk", key.access_key), Guard()),
            clock=clock,
        )
    assert auth.token_file is not None, "validation left exactly one of the three"
    return TokenFileCredential(
        auth.token_file.read, guard=guards.setdefault(("token", str(auth.token_file.path)), Guard())
    )


def _path(path: object | None) -> str | None:
    return None if path is None else str(path)


def alerting(config: Config, external_url: str, since: int) -> Alerting | None:
    """How alerts are pushed from `since` (ms) on; None if they are not."""
    wanted = config.alertmanager
    if wanted is None:
        return None
    return Alerting(
        wanted.labels,
        external_url.rstrip("/"),
        classifier(config),
        wanted.resend_interval,
        wanted.cause_wait,
        since,
    )


def peers(
    config: Config,
    how: Alerting | None,
    alerts: Callable[[], Mapping[tuple[str, str], Push]],
    telemetry: Telemetry,
    teller: Teller,
    clock: Callable[[], int],
    on_bug: Callable[[BaseException], None],
) -> list[Peer]:
    """One for each Alertmanager; they send from `start` on."""
    wanted = config.alertmanager
    if wanted is None or how is None:
        return []
    return [
        Peer(
            name,
            Alertmanager(
                url,
                Transport(
                    _PUSH_TIMEOUT_SECONDS,
                    _path(wanted.tls.ca_file),
                    insecure_skip_verify=wanted.tls.insecure_skip_verify,
                ),
                partial(_authorization, wanted),
            ),
            alerts,
            how,
            telemetry,
            teller,
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


class _Telemetry:
    """The exporter's metrics as one project's client sees them."""

    def __init__(self, telemetry: Telemetry, project: str) -> None:
        self.request = partial(telemetry.request, project)
        self.clock_skew = partial(telemetry.clock_skew, project)
        self.token_expiry = partial(telemetry.token_expiry, project)


class _CountedGate:
    """A gate that counts the 429s it is told of."""

    def __init__(self, gate: Gate, telemetry: Telemetry, project: str) -> None:
        self._gate = gate
        self._throttled = partial(telemetry.throttled, project)
        self.enter = gate.enter

    def throttled(self, wait_seconds: float | None, allowed_per_second: float | None) -> None:
        """The cloud answered 429."""
        self._throttled()
        self._gate.throttled(wait_seconds, allowed_per_second)
