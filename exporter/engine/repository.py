"""Projects and services in the store: what its records hold, and which changes are worth a write."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from exporter.adapters.store.database import Change, PastChange, ProjectChange, ServiceChange, Store
from exporter.core.accounting import stored_format
from exporter.core.accounting.counters import resumed
from exporter.core.accounting.history import History, extended
from exporter.core.accounting.project_totals import ProjectTotals
from exporter.core.accounting.service_state import ROW_COUNTERS, Outcome, ServiceState, without_call_totals
from exporter.core.times import EpochMs
from exporter.engine import changes
from exporter.engine.changes import CallTotals, ChangeSet, ProjectKey, StateChange
from exporter.engine.project_state import StoredProject


class _ProjectRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is stored of a project as a whole.

    Call totals change with every list. Here they cost one small write for all services, and no service is
    written for them alone; those in a service's own record may be older.
    """

    totals: ProjectTotals
    calls: dict[str, CallTotals]


_encode = msgspec.msgpack.Encoder().encode
_decode_service = msgspec.msgpack.Decoder(ServiceState).decode
_decode_history = msgspec.msgpack.Decoder(History).decode
_decode_project = msgspec.msgpack.Decoder(_ProjectRecord).decode


class Repository:
    """The store, in terms of projects and services. Every method may raise `StoreError`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.upgrade_blobs(stored_format.VERSION, _upgraded)

    def load(self, key: ProjectKey, now: EpochMs) -> StoredProject:
        """Everything that is known of a project."""
        blob = self._store.projects().get(key)
        record = None if blob is None else _decode_project(blob)
        calls = record.calls if record else {}
        services = {
            service_id: _resumed(_decode_service(found), now, calls.get(service_id))
            for service_id, found in self._store.services(key)
        }
        totals = None
        if record is not None:
            totals = msgspec.structs.replace(record.totals, counters=resumed(record.totals.counters, now))

        def recall(service_id: str, now: EpochMs) -> ServiceState | None:
            found = self._store.service(key, service_id)
            return None if found is None else _resumed(_decode_service(found), now)

        return StoredProject(services, totals, recall)

    def history(self, key: ProjectKey, service_id: str) -> History | None:
        """A service's last events and updates."""
        blob = self._store.past(key, service_id)
        return None if blob is None else _decode_history(blob)

    def write(self, change_set: ChangeSet) -> bool:
        """Make it durable, all or nothing. Returns whether there was anything to write."""
        records: list[Change] = []
        for change in change_set.projects:
            records += self._histories(change.key, change.outcomes)
            records += _services(change.key, change.services)
            records += _project(change)
        if records:
            self._store.commit(records)
        return bool(records)

    def _histories(self, key: ProjectKey, outcomes: Iterable[tuple[str, Outcome]]) -> Iterator[PastChange]:
        histories: dict[str, History] = {}
        for service_id, outcome in outcomes:
            if outcome.past_events or outcome.past_updates:
                before = histories.get(service_id) or self.history(key, service_id) or History()
                histories[service_id] = extended(before, outcome.past_events, outcome.past_updates)
        for service_id, history in histories.items():
            yield PastChange(key, service_id, _encode(history))

    def size(self) -> int:
        """Bytes on disk."""
        return self._store.size()


def _services(key: ProjectKey, services: Mapping[str, StateChange]) -> Iterator[ServiceChange]:
    for service_id, change in services.items():
        if not change.present or change.before is None or not _only_calls(change.before, change.after):
            yield ServiceChange(key, service_id, _encode(change.after), present=change.present)


def _project(change: changes.ProjectChange) -> Iterator[ProjectChange]:
    if change.call_totals is not None:
        record = _ProjectRecord(change.view.totals, dict(change.call_totals))
        yield ProjectChange(change.key, _encode(record))


def _upgraded(kind: stored_format.Kind, blob: bytes, version: int) -> bytes:
    return _encode(stored_format.upgraded(kind, msgspec.msgpack.decode(blob), version))


def _resumed(state: ServiceState, now: EpochMs, calls: CallTotals | None = None) -> ServiceState:
    counters = state.counters
    if calls is not None:
        values = counters.values | dict(zip(ROW_COUNTERS, calls, strict=True))
        counters = msgspec.structs.replace(counters, values=values)
    return msgspec.structs.replace(state, counters=resumed(counters, now))


def _only_calls(before: ServiceState, after: ServiceState) -> bool:
    """Whether nothing changed but the call totals, which are stored apart."""
    if before is after:
        return True
    if before.counters.unscraped != after.counters.unscraped:
        return False
    if without_call_totals(before.row) != without_call_totals(after.row):
        return False
    return msgspec.structs.replace(after, row=before.row, counters=before.counters) == before
