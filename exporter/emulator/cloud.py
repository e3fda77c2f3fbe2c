"""The state of the emulated cloud and the hand that moves it: tests and scenarios call, HTTP only reads."""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from threading import RLock
from typing import Any, NamedTuple

from exporter.emulator.faults import Faults
from exporter.emulator.identity import (
    DEFAULT_ACCESS_KEY,
    DEFAULT_DOMAIN,
    DEFAULT_PASSWORD,
    DEFAULT_SECRET_KEY,
    DEFAULT_USER,
    Identity,
)
from exporter.emulator.project import DEFAULT_PROJECT, DEFAULT_PROJECT_NAME, Project
from exporter.emulator.rows import Row, made_id, model, service_row
from exporter.emulator.service import EventEntry, Service, UpdateEntry
from exporter.emulator.switches import Switches
from exporter.emulator.truth import Truth

# Enough for a test of an hour's requests; a demo that runs for weeks must not grow.
REQUESTS_KEPT = 100_000


class SeenRequest(NamedTuple):
    """One request as it was answered; `status` is 0 where the connection was just closed."""

    endpoint: str
    service_id: str | None
    query: Mapping[str, str]
    at: int
    status: int


class Cloud:
    """Everything the emulator knows, behind one lock.

    Args:
        clock: gives the cloud's time in ms since the epoch; tests turn it by hand.
        switches: how this cloud behaves.

    `faults`, `identity`, `requests` and `switches` are open to tests; `lock` guards them all.

    """

    def __init__(self, clock: Callable[[], int], switches: Switches | None = None) -> None:
        self.clock = clock
        self.switches = switches or Switches()
        self.faults = Faults()
        self.identity = Identity()
        self.requests: deque[SeenRequest] = deque(maxlen=REQUESTS_KEPT)
        self.samples: dict[tuple[str, str | None], bytes] = {}
        self.lock = RLock()
        self.projects: dict[str, Project] = {}
        self.windows: dict[str, tuple[int, int]] = {}  # throttle: user -> (start of window, requests in it)
        self._players: list[Callable[[int], None]] = []
        self._made = 0
        self.add_project(DEFAULT_PROJECT, DEFAULT_PROJECT_NAME)
        self.identity.add_user(DEFAULT_USER, DEFAULT_PASSWORD, DEFAULT_DOMAIN)
        self.identity.add_key(DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY)

    def advance(self) -> int:
        """Let every scenario come up to the clock; every request does this first. Returns now in ms."""
        with self.lock:
            now = self.clock()
            for player in self._players:
                player(now)
            return now

    def attach(self, player: Callable[[int], None]) -> None:
        """Call `player(now)` on every advance."""
        with self.lock:
            self._players.append(player)

    # Who may ask

    def add_project(self, project_id: str = DEFAULT_PROJECT, name: str = "") -> str:
        """A project; nothing happens if it exists."""
        with self.lock:
            if project_id not in self.projects:
                self.projects[project_id] = Project(project_id, name or project_id)
            return project_id

    def add_user(
        self, name: str, password: str, domain: str = DEFAULT_DOMAIN, projects: Sequence[str] | None = None
    ) -> str:
        """A user, who may enter every project unless `projects` names some; gives the user's id."""
        with self.lock:
            return self.identity.add_user(name, password, domain, projects)

    def add_access_key(
        self, access: str, secret: str, security_token: str | None = None, expires_at: int | None = None
    ) -> None:
        """An access key of the default user; with a security token it is a temporary one."""
        with self.lock:
            self.identity.add_key(access, secret, security_token, expires_at)

    def revoke_tokens(self) -> None:
        """End every token now, as a changed password does."""
        with self.lock:
            self.identity.tokens.clear()

    # Services

    def add_service(
        self,
        project_id: str = DEFAULT_PROJECT,
        service_id: str | None = None,
        *,
        name: str = "",
        infer_type: str = "real-time",
        status: str = "running",
        workspace_id: str = "0",
        models: Sequence[Row] | None = None,
        nodes: Sequence[Row] = (),
        **fields: Any,
    ) -> str:
        """A service, without logs; gives its id.

        Args:
            project_id: made if it does not exist.
            service_id: made if not given. One that was deleted comes back, and its truth goes on.
            name: made if not given.
            infer_type: of the API.
            status: of the API.
            workspace_id: of the API.
            models: rows as `model()` makes them; one if not given.
            nodes: edge only: rows with `id` and `name`.
            fields: replace or add to the fields of its row, as they are.

        """
        with self.lock:
            project = self.projects[self.add_project(project_id)]
            self._made += 1
            service_id = service_id or made_id(f"service/{self._made}")
            named = name or f"service-{service_id[:8]}"
            row = service_row(project_id, service_id, named, self.clock())
            row |= {"infer_type": infer_type, "status": status, "workspace_id": workspace_id, **fields}
            past = project.deleted.pop(service_id, Truth())
            project.services[service_id] = Service(row, list(models or [model()]), list(nodes), past=past)
            return service_id

    def service(self, service_id: str) -> Service:
        """The living service; KeyError if there is none."""
        with self.lock:
            return self._home(service_id).services[service_id]

    def _home(self, service_id: str) -> Project:
        """The project of a service, living or dead; KeyError if there never was one."""
        for project in self.projects.values():
            if service_id in project.services or service_id in project.deleted:
                return project
        raise KeyError(service_id)

    def delete_service(self, service_id: str) -> None:
        """The service is gone; its truth stays. KeyError if it is not living."""
        with self.lock:
            self._home(service_id).delete(service_id, self.clock())

    def set_status(
        self, service_id: str, status: str, *, at: int | None = None, progress: int = 100, error_msg: str = ""
    ) -> None:
        """A new status, since `at` (ms, now if not given)."""
        with self.lock:
            service = self.service(service_id)
            service.fields |= {
                "status": status,
                "progress": progress,
                "transition_at": self.clock() if at is None else at,
            }
            service.error_msg = error_msg

    def patch_service(self, service_id: str, **fields: Any) -> None:
        """Set fields of its row to whatever is given."""
        with self.lock:
            self.service(service_id).fields |= fields

    # Logs

    def begin_update(
        self,
        service_id: str,
        models: Sequence[Row] | None = None,
        *,
        at: int | None = None,
        visible_at: int | None = None,
    ) -> int:
        """An update starts: RUNNING in the log, the service deploying. Gives its update_time in ms.

        Args:
            service_id: of a living service.
            models: the new config; the one deployed now if not given.
            at: its update_time, now if not given.
            visible_at: when the log shows it, now if not given.

        """
        with self.lock:
            service = self.service(service_id)
            if models is not None:
                service.models = list(models)
            begun = self.add_update(service_id, "RUNNING", at=at, visible_at=visible_at)
            service.fields["operation_time"] = begun
            self.set_status(service_id, "deploying", at=begun, progress=0)
            return begun

    def settle(
        self,
        service_id: str,
        update_time: int,
        result: str = "SUCCESS",
        nodes: Sequence[Row] | None = None,
        *,
        at: int | None = None,
    ) -> None:
        """The open update of this time ends; the service is running or failed from `at` (ms) on.

        `nodes` (edge) are rows with node_id, node_name, operation and result.
        """
        with self.lock:
            service = self.service(service_id)
            now = self.clock() if at is None else at
            entry = next(e for e in service.updates if e.update_time == update_time and e.result == "RUNNING")
            entry.result = result
            entry.settled_at = now
            entry.nodes = None if nodes is None else list(nodes)
            if result == "SUCCESS":
                service.fields["publish_at"] = update_time
                self.set_status(service_id, "running", at=now)
            else:
                self.set_status(service_id, "failed", at=now, error_msg=service.cause(update_time))

    def add_update(
        self,
        service_id: str,
        result: str,
        *,
        at: int | None = None,
        visible_at: int | None = None,
        models: Sequence[Row] | None = None,
        nodes: Sequence[Row] | None = None,
    ) -> int:
        """An entry of the log with any result; the status of the service is left alone."""
        with self.lock:
            service = self.service(service_id)
            now = self.clock()
            begun = now if at is None else at
            shown = now if visible_at is None else visible_at
            entry = UpdateEntry(begun, list(service.models if models is None else models), shown, result)
            entry.nodes = None if nodes is None else list(nodes)
            entry.settled_at = None if result == "RUNNING" else begun
            service.updates.append(entry)
            return begun

    def add_event(
        self,
        service_id: str,
        event_type: str,
        text: str,
        at: int | None = None,
        visible_at: int | None = None,
    ) -> int:
        """An event dated `at`, shown from `visible_at` on (ms, both now if not given). Gives `at`."""
        with self.lock:
            now = self.clock()
            occurred = now if at is None else at
            shown = now if visible_at is None else visible_at
            self.service(service_id).events.append(EventEntry(occurred, event_type, text, shown))
            return occurred

    # What is true

    def truth(self, service_id: str) -> Truth:
        """What was ever shown of a service's settled entries, also a dead one's; KeyError if unknown."""
        with self.lock:
            return self._home(service_id).truth(service_id, self.clock())

    def truth_totals(self) -> Counter[tuple[str, str]]:
        """Over all services: how many of each (`update`, result) and (`event`, type)."""
        with self.lock:
            now = self.clock()
            totals: Counter[tuple[str, str]] = Counter()
            for project in self.projects.values():
                totals.update(project.truth_totals(now))
            return totals

    def forget(self) -> None:
        """Free what retention hides; only the totals of the truth keep it."""
        with self.lock:
            now = self.clock()
            for project in self.projects.values():
                project.forget(now, now - self.switches.retention)

    def serve_sample(
        self, endpoint: str, content: bytes, *, service_id: str | None = None, workspace_id: str = "0"
    ) -> None:
        """Answer this endpoint with these bytes; a list for one workspace, all else for one service."""
        with self.lock:
            self.samples[endpoint, workspace_id if endpoint == "list" else service_id] = content
