"""Every key of the config file: its type, its default, and when to change it."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from exporter.config import values
from exporter.config.credentials import (
    Auth,
    BasicAuth,
    HiddenFile,
    Proxy,
    Text,
    Tls,
    Url,
    login_needs_proxy,
)
from exporter.config.section import Fault, Section, at_most_one, filled, repeated
from exporter.config.text import quoted
from exporter.core.records import INFER_TYPES

# What the exporter itself says about an alert; an override would break silences and inhibition.
RESERVED_LABELS = ("alertname", "severity", "source", "project", "service_id", "service_name")
_LABEL_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*")

Id = Annotated[str, values.ID]
Boolean = Annotated[bool, values.BOOLEAN]
Milliseconds = Annotated[int, values.DURATION]
PositiveMilliseconds = Annotated[int, values.POSITIVE_DURATION]
Pattern = Annotated[re.Pattern[str], values.PATTERN]
InferType = Annotated[Literal["real-time", "edge", "batch"], values.choice(*INFER_TYPES)]
History = Annotated[Literal["count", "skip"], values.choice("count", "skip")]


class Services(Section):
    """Which services of a project are watched. A service must pass all four."""

    ids: tuple[Id, ...] = Field(
        default=(), description="Only these services; empty: all. Required if `discovery` is false."
    )
    include_names: tuple[Pattern, ...] = Field(
        default=(re.compile(".*", re.DOTALL),),
        description="Only services whose whole name matches one of these.",
    )
    exclude_names: tuple[Pattern, ...] = Field(
        default=(),
        description="Services to leave out: the whole name matches one of these, such as `tmp-.*`.",
    )
    infer_types: tuple[InferType, ...] = Field(
        default=("real-time", "edge", "batch"),
        description="Only services of these types. With all three, types that the API adds later are watched "
        "too.",
    )

    @classmethod
    def rules(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """No service and no type twice; lists that would leave nothing to watch."""
        for key in ("ids", "infer_types"):
            yield from repeated(data, key)
        for key in ("include_names", "infer_types"):
            yield from filled(data, key)

    @cached_property
    def _ids(self) -> frozenset[str]:
        return frozenset(self.ids)  # there may be thousands, asked for by each of thousands of services

    def wants(self, service_id: str, service_name: str, infer_type: str) -> bool:
        """Whether a service is watched; the arguments are as the API shows them."""
        known_type = infer_type in INFER_TYPES
        return (
            (not self.ids or service_id in self._ids)
            and (infer_type in self.infer_types if known_type else set(INFER_TYPES) <= set(self.infer_types))
            and any(pattern.fullmatch(service_name) for pattern in self.include_names)
            and not any(pattern.fullmatch(service_name) for pattern in self.exclude_names)
        )


class Project(Section):
    """One project of one region."""

    project_id: Id = Field(
        description="Id of the project, not its name. It has 32 hexadecimal digits; see *My Credentials* in "
        "the console."
    )
    name: Text = Field(
        default_factory=lambda data: data.get("project_id", ""),
        description="Value of the label `project` of every metric and alert; must be unique. If you change "
        "it, new series begin.",
    )
    endpoint: Url = Field(
        description="Address of ModelArts in the project's region, such as "
        "`https://modelarts.eu-de.otc.t-systems.com`."
    )
    auth: Auth = Field(description="How to sign in: exactly one of `password`, `aksk` and `token_file`.")
    workspaces: tuple[Id, ...] = Field(
        default=("0",),
        description="Ids of the workspaces to list. Without this key only workspace 0 is listed.",
    )
    discovery: Boolean = Field(
        default=True,
        description="Whether to list the services. With false, only `services.ids` are watched: for a user "
        "without permission to list.",
    )
    services: Services = Field(default=Services(), description="Which services are watched.")
    rate_limit: Annotated[float, values.POSITIVE] = Field(
        default=5.0,
        description="Most requests per second to this endpoint. Of N shards each sends an Nth of it, so that "
        "all together keep to it. After a 429 the exporter goes slower by itself. Lower it if other programs "
        "share the user's quota.",
    )
    concurrency: Annotated[int, values.COUNT] = Field(
        default=4,
        description="Most requests at the same time. Raise it if the endpoint is so slow that `rate_limit` "
        "is never reached.",
    )
    timeout: Annotated[int, values.TIMEOUT] = Field(
        default=45_000,
        description="How long a request may take, from looking the name up to the last byte. The gateway "
        "gives up at 40 s; with less than that, its own error, which names the cause, is never seen.",
    )
    tls: Tls = Field(default=Tls(), description="How the certificates of ModelArts and IAM are checked.")
    proxy_url: Proxy | None = Field(
        default=None,
        description="Proxy for the requests to ModelArts and IAM. Without it those of the environment count "
        "(`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, also in lower case), but not for this "
        "machine's own addresses; `none` is no proxy at all.",
    )
    proxy_basic_auth: BasicAuth | None = Field(
        default=None, description="User and password for the proxy of `proxy_url`."
    )

    @classmethod
    def rules(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Something must say which services there are, and which proxy a login is for."""
        yield from login_needs_proxy(data)
        yield from filled(data, "workspaces")
        yield from repeated(data, "workspaces")
        services = data.get("services")
        ids = services.get("ids") if isinstance(services, dict) else getattr(services, "ids", None)
        if str(data.get("discovery")).lower() == "false" and not ids:
            yield ("discovery",), "is false without services.ids; list there what to watch, or set it to true"


class Poll(Section):
    """How often ModelArts is asked. Each of the three intervals may be longer or shorter than the others."""

    interval: PositiveMilliseconds = Field(
        default=30_000, description="How often the service list is read. Raise it to send fewer requests."
    )
    active_interval: PositiveMilliseconds = Field(
        default=10_000,
        description="How often a service is read while it has an open update, is deploying or has just "
        "changed. Its alerts come this much later. After half an hour it is read less often.",
    )
    sweep_interval: PositiveMilliseconds = Field(
        default=300_000,
        description="Every service is read in full at least this often, because its row in the list may not "
        "show every change. Raise it for a large project with a small rate limit.",
    )
    lateness: Milliseconds = Field(
        default=600_000,
        description="How late an entry may appear in a log of the API and still be counted. Raise it if "
        "`modelarts_exporter_audit_differences_total` grows with the kind `extra`.",
    )


class Store(Section):
    """What is kept in the store."""

    keep_deleted: PositiveMilliseconds = Field(
        default=90 * 86_400_000,
        description="A service that was deleted longer ago than this is forgotten, with its counts and "
        "texts, and so is a project that was taken out of this file, with all of its services; until then "
        "one that comes back keeps its counts. With less than the month for which the API "
        "keeps its logs, the entries of one that comes back could be counted twice.",
    )


class Metrics(Section):
    """Metrics that can be left out."""

    failure_message: Boolean = Field(
        default=True,
        description="Label `message` on `modelarts_service_last_failure_info`. Set it to false if event "
        "texts must not reach Prometheus.",
    )
    edge_nodes: Boolean = Field(
        default=True,
        description="One series for each edge node. Set it to false if there are thousands of nodes.",
    )


class CauseRule(Section):
    """A cause of failure that the built-in rules do not know. It is tried before them, in this order."""

    reason: Annotated[str, values.REASON] = Field(
        description="Value of the label `reason`: a new one or a built-in one."
    )
    pattern: Annotated[re.Pattern[str], values.CAUSE_PATTERN] = Field(
        description="Searched for anywhere in the text of an event; upper and lower case are the same."
    )
    remedy: Text = Field(description="What to do about it, as pages and alerts show it.")


class Links(Section):
    """Where pages, pushed alerts and rules link to."""

    external_url: Url | None = Field(
        default=None,
        description="Where readers reach the exporter's pages; `--web.external-url` goes before it. It may "
        "end in a path: a proxy takes that off. Without both it is this machine's name and the port, and the "
        "log warns of that.",
    )
    runbooks_url: Url | None = Field(
        default=None,
        description="Where the runbooks are; `/` and the alert's name are appended. Without it the "
        "exporter's own pages at `/runbooks/`.",
    )
    grafana_url: Url | None = Field(
        default=None, description="Grafana, for a link to the dashboard of the service."
    )
    console_url: Annotated[str, values.CONSOLE_URL] | None = Field(
        default=None,
        description="The page of a service in the cloud's console; `{project_id}` and `{service_id}` are "
        "filled in.",
    )
    prometheus_url: Url | None = Field(
        default=None, description="Prometheus, for a link from a service's page to its metrics."
    )


class Alertmanager(Section):
    """Where the exporter pushes its alert, which carries the cause."""

    urls: tuple[Url, ...] = Field(
        description="Every Alertmanager of the cluster, with its path prefix if it has one; no load balancer."
    )
    basic_auth: BasicAuth | None = Field(
        default=None, description="User and password. Set this or `bearer_token_file`."
    )
    bearer_token_file: HiddenFile | None = Field(
        default=None, description="File that holds a bearer token; read again when it changes."
    )
    tls: Tls = Field(default=Tls(), description="How the certificates of the Alertmanagers are checked.")
    proxy_url: Proxy | None = Field(
        default=None, description="Proxy for the pushes; as `proxy_url` of a project."
    )
    proxy_basic_auth: BasicAuth | None = Field(
        default=None, description="User and password for the proxy of `proxy_url`."
    )
    labels: Annotated[Mapping[str, Text], AfterValidator(MappingProxyType)] = Field(
        default_factory=lambda: MappingProxyType({}), description="Labels added to every alert, for routing."
    )
    severity: Text = Field(
        default="critical", description="The label `severity` of every pushed alert, for routing."
    )
    resend_interval: PositiveMilliseconds = Field(
        default=60_000,
        description="How often a firing alert is sent again. Alertmanager ends one that it has not seen for "
        "ten minutes and four of these. No shorter than the evaluation interval of the rules: an end is sent "
        "one of these and the time between two scrapes later, when the rule's alert has ended.",
    )
    cause_wait: Milliseconds = Field(
        default=20_000,
        description="How long the first send waits for the text of the cause, because Alertmanager does not "
        "notify again when the text comes later. 0s sends at once.",
    )

    @classmethod
    def rules(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """One way to sign in; no label that Alertmanager refuses or that hides one of ours."""
        yield from login_needs_proxy(data)
        yield from at_most_one(data, "basic_auth", "bearer_token_file")
        yield from filled(data, "urls")
        yield from repeated(data, "urls")
        labels = data.get("labels")
        for name in labels if isinstance(labels, dict) else ():
            if name in RESERVED_LABELS:
                taken = ", ".join(RESERVED_LABELS)
                yield ("labels", name), f"is set by the exporter; choose a name other than {taken}"
            elif not _LABEL_NAME.fullmatch(name):
                yield (
                    ("labels", name),
                    "is not a label name; letters, digits and _ are allowed, but no digit and no __ in front",
                )


class Config(Section):
    """The whole file."""

    projects: tuple[Project, ...] = Field(description="The projects to watch, at least one.")
    poll: Poll = Field(default=Poll(), description="How often ModelArts is asked.")
    history: History = Field(
        default="count",
        description="Whether entries that are in the API's logs at the very first start are counted. With "
        "`skip` the counters start at 0.",
    )
    store: Store = Field(default=Store(), description="What is kept in the store.")
    metrics: Metrics = Field(default=Metrics(), description="Which metrics are exposed.")
    causes: tuple[CauseRule, ...] = Field(
        default=(), description="Your own causes of failure, tried before the built-in ones."
    )
    links: Links = Field(default=Links(), description="Where pages, alerts and rules link to.")
    alertmanager: Alertmanager | None = Field(
        default=None, description="Where the exporter pushes its alert. Without it, it pushes none."
    )

    @classmethod
    def rules(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """A name tells a project's series from those of others, so it stands once."""
        yield from filled(data, "projects")
        projects = data.get("projects")
        seen: dict[str, int] = {}
        for index, project in enumerate(projects if isinstance(projects, list) else ()):
            # A project that is no mapping is reported by itself.
            given = project if isinstance(project, dict) else {}
            key = "project_id" if given.get("name") is None else "name"
            name = given.get(key)
            if isinstance(name, str) and (first := seen.setdefault(name, index)) != index:
                message = f"{quoted(name)} is already the name of projects[{first}]; give each project a name"
                yield ("projects", index, key), f"{message} of its own (it defaults to the project_id)"
