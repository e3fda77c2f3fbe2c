"""Accounts on disk: what the store's blobs hold, and which of the staged changes are worth a write."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from exporter.adapters.store.database import Change, PastChange, ProjectChange, ServiceChange, Store
from exporter.core.accounting import stored_format
from exporter.core.accounting.counters import resumed
from exporter.core.accounting.history import History, extended
from exporter.core.accounting.project_totals import ProjectTotals
from exporter.core.accounting.service_state import ROW_COUNTERS, Outcome, ServiceState, without_call_totals
from exporter.engine.course import Course
from exporter.engine.project import Project, ProjectSettings

Key = tuple[str, str]  # a project's name and project_id
Calls = tuple[float, ...]  # what the `ROW_COUNTERS` are at


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of a project as a whole.

    Call totals change with every list. Here they cost one small write for all services, and an account
    is not written for their sake; those inside an account may be older.
    """

    totals: ProjectTotals
    calls: dict[str, Calls]


_encode = msgspec.msgpack.Encoder().encode
_account = msgspec.msgpack.Decoder(ServiceState).decode
_history = msgspec.msgpack.Decoder(History).decode
_kept = msgspec.msgpack.Decoder(_Kept).decode


class Repository:
    """The store, in terms of accounts. Every method may raise `StoreError`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.upgrade_blobs(stored_format.VERSION, _upgraded)

    def open(self, settings: ProjectSettings, now: int) -> Project:
        """A project with everything that is known of it at `now` (ms)."""
        key = (settings.name, settings.project_id)
        blob = self._store.projects().get(key)
        kept = None if blob is None else _kept(blob)
        calls = kept.calls if kept else {}
        stored = {
            service_id: _restored(found, now, calls.get(service_id))
            for service_id, found in self._store.services(key)
        }
        totals = None
        if kept is not None:
            totals = msgspec.structs.replace(kept.totals, counters=resumed(kept.totals.counters, now))

        def recall(service_id: str, now: int) -> ServiceState | None:
            found = self._store.service(key, service_id)
            return None if found is None else _restored(found, now)

        return Project(settings, stored, totals, recall)

    def changes(
        self, courses: Iterable[Course], outcomes: Iterable[tuple[Course, str, Outcome]]
    ) -> list[Change]:
        """What has to be written before the staged changes, to which `outcomes` led, may be shown."""
        found: list[Change] = list(self._past_changes(outcomes))
        for course in courses:
            staged, totals = course.project.staged()
            found += _service_changes(course, staged)
            before = course.project.services
            if totals is not None or any(_calls_differ(before.get(s), after) for s, after in staged.items()):
                present = {s: state for s, state in {**before, **staged}.items() if state is not None}
                kept = _Kept(totals or course.project.totals, {s: _calls(a) for s, a in present.items()})
                found.append(ProjectChange(course.key, _encode(kept)))
        return found

    def _past_changes(self, outcomes: Iterable[tuple[Course, str, Outcome]]) -> Iterator[Change]:
        pasts: dict[tuple[Key, str], History] = {}
        for course, service_id, outcome in outcomes:
            if outcome.past_events or outcome.past_updates:
                place = (course.key, service_id)
                before = pasts.get(place) or self.history(*place) or History()
                pasts[place] = extended(before, outcome.past_events, outcome.past_updates)
        for (key, service_id), past in pasts.items():
            yield PastChange(key, service_id, _encode(past))

    def history(self, key: Key, service_id: str) -> History | None:
        """A service's last events and updates."""
        blob = self._store.past(key, service_id)
        return None if blob is None else _history(blob)

    def write(self, changes: list[Change]) -> None:
        """Make them durable, all or none."""
        self._store.commit(changes)

    def size(self) -> int:
        """Bytes on disk."""
        return self._store.size()


def _upgraded(kind: stored_format.Kind, blob: bytes, version: int) -> bytes:
    return _encode(stored_format.upgraded(kind, msgspec.msgpack.decode(blob), version))


def _service_changes(course: Course, staged: Mapping[str, ServiceState | None]) -> Iterator[ServiceChange]:
    for service_id, state in staged.items():
        before = course.project.services.get(service_id)
        if state is None:
            if before is not None:
                yield ServiceChange(course.key, service_id, _encode(before), present=False)
        elif before is None or not _only_calls(before, state):
            yield ServiceChange(course.key, service_id, _encode(state), present=True)


def _restored(blob: bytes, now: int, calls: Calls | None = None) -> ServiceState:
    state = _account(blob)
    totals = state.counters
    if calls is not None:
        values = totals.values | dict(zip(ROW_COUNTERS, calls, strict=True))
        totals = msgspec.structs.replace(totals, values=values)
    return msgspec.structs.replace(state, counters=resumed(totals, now))


def _calls(state: ServiceState) -> Calls:
    return tuple(state.counters.values[name] for name in ROW_COUNTERS)


def _calls_differ(before: ServiceState | None, after: ServiceState | None) -> bool:
    return after is not None and (before is None or _calls(before) != _calls(after))


def _only_calls(before: ServiceState, after: ServiceState) -> bool:
    """Whether nothing changed but the call totals, which are kept apart."""
    if before.counters.unscraped != after.counters.unscraped:
        return False
    if without_call_totals(before.row) != without_call_totals(after.row):
        return False
    return msgspec.structs.replace(after, row=before.row, counters=before.counters) == before
