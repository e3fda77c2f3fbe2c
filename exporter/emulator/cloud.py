"""The state of the emulated cloud, and the methods by which tests and scenarios change it."""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from threading import RLock
from typing import Any, NamedTuple

from exporter.emulator.faults import Faults
from exporter.emulator.identity_store import (
    DEFAULT_ACCESS_KEY,
    DEFAULT_DOMAIN,
    DEFAULT_PASSWORD,
    DEFAULT_SECRET_KEY,
    DEFAULT_USER,
    IdentityStore,
)
from exporter.emulator.project import DEFAULT_PROJECT, DEFAULT_PROJECT_NAME, Project
from exporter.emulator.rows import Row, model, service_row, stable_id
from exporter.emulator.service import EventEntry, Service, UpdateEntry
from exporter.emulator.switches import Switches
from exporter.emulator.truth import Truth

# Enough for a test that makes an hour's requests; limited, so that a demo can run for weeks.
REQUESTS_KEPT = 100_000


class SeenRequest(NamedTuple):
    """One request at `at` (ms) and its HTTP status, which is 0 if the whole response was not sent."""

    endpoint: str
    service_id: str | None
    query: Mapping[str, str]
    at: int
    status: int


class Cloud:
    """The whole state of the emulator, behind one lock.

    Args:
        clock: returns the cloud's time in ms since the epoch; tests set it by hand.
        switches: how this cloud behaves.

    Tests may use `faults`, `identities`, `requests` and `switches`; `lock` guards them all.

    """

    def __init__(self, clock: Callable[[], int], switches: Switches | None = None) -> None:
        self.clock = clock
        self.switches = switches or Switches()
        self.faults = Faults()
        self.identities = IdentityStore()
        self.requests: deque[SeenRequest] = deque(maxlen=REQUESTS_KEPT)
        self.samples: dict[tuple[str, str | None], bytes] = {}
        self.lock = RLock()
        self.projects: dict[str, Project] = {}
        self.throttle_windows: dict[
            str, tuple[int, int]
        ] = {}  # throttle: user -> (start of window, requests in it)
        self._players: list[Callable[[int], None]] = []
        self._services_made = 0
        self.add_project(DEFAULT_PROJECT, DEFAULT_PROJECT_NAME)
        self.identities.add_user(DEFAULT_USER, DEFAULT_PASSWORD, DEFAULT_DOMAIN)
        self.identities.add_key(DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY)

    def advance(self) -> int:
        """Bring every scenario up to the cloud's time, and return it in ms; each request does this first."""
        with self.lock:
            now = self.clock()
            for player in self._players:
                player(now)
            return now

    def attach(self, player: Callable[[int], None]) -> None:
        """Call `player(now)` at every `advance`."""
        with self.lock:
            self._players.append(player)

    # Projects, users, keys

    def add_project(self, project_id: str = DEFAULT_PROJECT, name: str = "") -> str:
        """Add a project if it does not exist; returns its id."""
        with self.lock:
            if project_id not in self.projects:
                self.projects[project_id] = Project(project_id, name or project_id)
            return project_id

    def add_user(
        self, name: str, password: str, domain: str = DEFAULT_DOMAIN, projects: Sequence[str] | None = None
    ) -> str:
        """Add a user of `projects` (None: of all), or replace the one of this name; returns its id."""
        with self.lock:
            return self.identities.add_user(name, password, domain, projects)

    def add_access_key(
        self, access: str, secret: str, security_token: str | None = None, expires_at: int | None = None
    ) -> None:
        """Add an access key of the default user; a temporary one has a security token."""
        with self.lock:
            self.identities.add_key(access, secret, security_token, expires_at)

    def revoke_tokens(self) -> None:
        """Make every token invalid now, as IAM does when a password is changed."""
        with self.lock:
            self.identities.tokens.clear()

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
        """Add a service with empty logs; returns its id.

        Args:
            project_id: added if it does not exist.
            service_id: a new one if not given. With that of a deleted service, the truth about it goes on.
            name: a new one if not given.
            infer_type: as in the API.
            status: as in the API.
            workspace_id: as in the API.
            models: rows as `model()` makes them; one model if not given.
            nodes: of an edge service: rows with `id` and `name`.
            fields: added to the fields of its row as they are, or replace them.

        """
        with self.lock:
            project = self.projects[self.add_project(project_id)]
            self._services_made += 1
            service_id = service_id or stable_id(f"service/{self._services_made}")
            named = name or f"service-{service_id[:8]}"
            row = service_row(project_id, service_id, named, self.clock())
            row |= {"infer_type": infer_type, "status": status, "workspace_id": workspace_id, **fields}
            past = project.deleted.pop(service_id, Truth())
            project.services[service_id] = Service(row, list(models or [model()]), list(nodes), past=past)
            return service_id

    def add_service_2(
        self, project_id: str = DEFAULT_PROJECT, service_id: str | None = None, workspace_id: str = "0"
    ) -> str:
        """Add a service of version 2 of the API, which version 1 does not show; returns its id."""
        with self.lock:
            project = self.projects[self.add_project(project_id)]
            service_id = service_id or stable_id(f"service 2/{len(project.services_2) + 1}")
            name = f"service-{service_id[:8]}"
            row = {"id": service_id, "name": name, "status": "RUNNING", "workspace_id": workspace_id}
            project.services_2.append(row)
            return service_id

    def service(self, service_id: str) -> Service:
        """The service; KeyError if there is none or it was deleted."""
        with self.lock:
            return self._project_of(service_id).services[service_id]

    def _project_of(self, service_id: str) -> Project:
        """The project of a service, also of a deleted one; KeyError if there never was one."""
        for project in self.projects.values():
            if service_id in project.services or service_id in project.deleted:
                return project
        raise KeyError(service_id)

    def delete_service(self, service_id: str) -> None:
        """Delete the service, but keep the truth about it. KeyError if there is none."""
        with self.lock:
            self._project_of(service_id).delete(service_id, self.clock())

    def set_status(
        self, service_id: str, status: str, *, at: int | None = None, progress: int = 100, error_msg: str = ""
    ) -> None:
        """Give it a new status, from `at` on (ms; now if not given)."""
        with self.lock:
            service = self.service(service_id)
            service.fields |= {
                "status": status,
                "progress": progress,
                "transition_at": self.clock() if at is None else at,
            }
            service.error_msg = error_msg

    def patch_service(self, service_id: str, **fields: Any) -> None:
        """Set fields of its row, without any check."""
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
        """Start an update: RUNNING in the log, status `deploying`. Returns its update_time in ms.

        Args:
            service_id: of an existing service.
            models: the new config; the deployed one if not given.
            at: its update_time in ms; now if not given.
            visible_at: the time in ms from which the log shows it; now if not given.

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
        """End the update of this update_time; the service is running or failed from `at` (ms) on.

        `nodes` are those of an edge service: rows with node_id, node_name, operation and result.
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
                self.set_status(service_id, "failed", at=now, error_msg=service.last_error(update_time))

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
        """Add an entry with any result to the update log; the status of the service stays as it is."""
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
        chinese: str = "",
    ) -> int:
        """Add an event of `at`, shown from `visible_at` on (ms; both now if not given). Returns `at`.

        `chinese`: its text where the cloud heeds X-Language and Chinese is asked for.
        """
        with self.lock:
            now = self.clock()
            occurred = now if at is None else at
            shown = now if visible_at is None else visible_at
            self.service(service_id).events.append(EventEntry(occurred, event_type, text, shown, chinese))
            return occurred

    # The truth

    def truth(self, service_id: str) -> Truth:
        """All settled entries ever shown of a service, also of a deleted one; KeyError if it is unknown."""
        with self.lock:
            return self._project_of(service_id).truth(service_id, self.clock())

    def truth_totals(self) -> Counter[tuple[str, str]]:
        """How many of each (`update`, result) and (`event`, type), over all services."""
        with self.lock:
            now = self.clock()
            totals: Counter[tuple[str, str]] = Counter()
            for project in self.projects.values():
                totals.update(project.truth_totals(now))
            return totals

    def forget(self) -> None:
        """Drop the entries that are past retention; only the totals of the truth still have them."""
        with self.lock:
            now = self.clock()
            for project in self.projects.values():
                project.forget(now, now - self.switches.retention)

    def serve_sample(
        self, endpoint: str, content: bytes, *, service_id: str | None = None, workspace_id: str = "0"
    ) -> None:
        """Send these bytes as the body: of the list of one workspace, or for one service."""
        with self.lock:
            self.samples[endpoint, workspace_id if endpoint == "list" else service_id] = content
