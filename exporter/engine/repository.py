"""Projects and services in the store: what its records hold, and which changes are worth a write."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import TypeVar

import msgspec

from exporter.adapters.store.database import (
    CallsChange,
    Change,
    DamagedRecordError,
    ListedUpdate,
    PastChange,
    ProjectChange,
    ServiceChange,
    Store,
    StoreError,
    UpdateKey,
    UpdateSelection,
)
from exporter.core.accounting import stored_format
from exporter.core.accounting.counters import resumed
from exporter.core.accounting.history import History, PastUpdate, extended
from exporter.core.accounting.project_totals import ProjectTotals
from exporter.core.accounting.service_state import ROW_COUNTERS, Outcome, ServiceState, without_call_totals
from exporter.core.pages.update_feed import FoundUpdate, FoundUpdates, UpdatePlace, UpdateQuery
from exporter.core.times import EpochMs
from exporter.engine import changes
from exporter.engine.changes import ChangeSet, ProjectKey, StateChange
from exporter.engine.project_state import RecalledService, StoredProject

T = TypeVar("T")
# What the `ROW_COUNTERS` of a service are at. They change with every list; the copy in its own
# record may be older, and counts only where there is no other.
CallTotals = tuple[float, ...]


class _ProjectRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """What is stored of a project as a whole; `calls`: only by versions that kept all call totals here."""

    totals: ProjectTotals
    calls: dict[str, CallTotals] = {}


class _PastUpdates(msgspec.Struct, frozen=True, gc=False):
    """The updates of a `History`; its events, which are much larger, are passed over."""

    updates: tuple[PastUpdate, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode_service = msgspec.msgpack.Decoder(ServiceState).decode
_decode_history = msgspec.msgpack.Decoder(History).decode
_decode_updates = msgspec.msgpack.Decoder(_PastUpdates).decode
_decode_calls = msgspec.msgpack.Decoder(CallTotals).decode
_decode_project = msgspec.msgpack.Decoder(_ProjectRecord).decode


class Repository:
    """The store, in terms of projects and services. Every method may raise `StoreError`.

    A damaged record counts as one that was never written, until it is written again.

    Args:
        store: opened.
        on_damaged: told once of each damaged record: its project, its service ("": the project's own record)
            and what it holds ("project", "service" or "past").

    """

    def __init__(self, store: Store, on_damaged: Callable[[str, str, stored_format.Kind], None]) -> None:
        self._store, self._on_damaged = store, on_damaged
        self._damaged: set[tuple[ProjectKey, str, stored_format.Kind]] = set()
        # What the histories of a change were before it, until it is written: a commit that reports an error
        # may have been kept, and must not be extended once more.
        self._histories_before: dict[tuple[ProjectKey, str], History] = {}
        store.upgrade_blobs(stored_format.VERSION, _upgraded)
        store.list_updates(lambda blob: _listed(_decoded(_decode_updates, blob).updates))

    def load(self, key: ProjectKey, now: EpochMs) -> StoredProject:
        """Everything that is known of a project."""
        record = self._project(key)
        calls = self._calls(key)
        if record is not None and record.calls:
            calls = record.calls | calls
            moved = [CallsChange(key, service_id, _encode(found)) for service_id, found in calls.items()]
            self._store.commit([*moved, ProjectChange(key, _encode(_ProjectRecord(record.totals)))])
        services = {}
        for service_id, blob in self._store.services(key):
            if blob is None:
                self._report_damaged(key, service_id, "service")
            else:
                services[service_id] = _resumed(_decoded(_decode_service, blob), now, calls.get(service_id))
        totals = None
        if record is not None:
            totals = msgspec.structs.replace(record.totals, counters=resumed(record.totals.counters, now))
        return StoredProject(services, totals, partial(self._recall, key))

    def _calls(self, key: ProjectKey) -> dict[str, CallTotals]:
        found = {}
        for service_id, blob in self._store.calls(key):
            if blob is None:
                self._report_damaged(key, service_id, "calls")
            else:
                found[service_id] = _decoded(_decode_calls, blob)
        return found

    def _project(self, key: ProjectKey) -> _ProjectRecord | None:
        try:
            blob = self._store.project(key)
        except DamagedRecordError:
            self._report_damaged(key, "", "project")
            return None
        return None if blob is None else _decoded(_decode_project, blob)

    def _recall(self, key: ProjectKey, service_id: str, now: EpochMs) -> RecalledService:
        try:
            blob = self._store.service(key, service_id)
        except DamagedRecordError:
            self._report_damaged(key, service_id, "service")
            return RecalledService(None, damaged=True)
        return RecalledService(None if blob is None else _resumed(_decoded(_decode_service, blob), now))

    def history(self, key: ProjectKey, service_id: str) -> History | None:
        """A service's last events and updates."""
        try:
            blob = self._store.past(key, service_id)
        except DamagedRecordError:
            self._report_damaged(key, service_id, "past")
            return None
        return None if blob is None else _decoded(_decode_history, blob)

    def updates(
        self, keys: Collection[ProjectKey], query: UpdateQuery, service_ids: Collection[str] | None
    ) -> FoundUpdates:
        """A page of the settled updates of these projects, newest first."""
        before = None if query.before is None else UpdateKey(*query.before)
        wanted = UpdateSelection(query.project, service_ids, query.result, query.since, before)
        listed = self._store.newest_updates(keys, wanted, query.per_page + 1)
        pasts: dict[tuple[ProjectKey, str], Mapping[tuple[int, int], PastUpdate]] = {}
        found = []
        for key, place in listed[: query.per_page]:
            owner = (key, place.service_id)
            if owner not in pasts:
                pasts[owner] = self._past_updates(*owner)
            past = pasts[owner].get((place.update_time, place.number))
            if past is not None:  # else the texts are damaged
                found.append(FoundUpdate(UpdatePlace(*place), past))
        has_more = len(listed) > query.per_page
        return FoundUpdates(tuple(found), UpdatePlace(*listed[query.per_page - 1][1]) if has_more else None)

    def _past_updates(self, key: ProjectKey, service_id: str) -> Mapping[tuple[int, int], PastUpdate]:
        try:
            blob = self._store.past(key, service_id)
        except DamagedRecordError:
            self._report_damaged(key, service_id, "past")
            return {}
        updates = () if blob is None else _decoded(_decode_updates, blob).updates
        return {
            (each.update_time, each.number): past
            for each, past in zip(_listed(updates), updates, strict=True)
        }

    def _report_damaged(self, key: ProjectKey, service_id: str, kind: stored_format.Kind) -> None:
        if (key, service_id, kind) not in self._damaged:
            self._damaged.add((key, service_id, kind))
            self._on_damaged(key[0], service_id, kind)

    def write(self, change_set: ChangeSet) -> bool:
        """Make it durable, all or nothing. Returns whether there was anything to write."""
        records: list[Change] = []
        for change in change_set.projects:
            records += self._histories(change.key, change.outcomes)
            records += _services(change.key, change.services)
            records += _project(change)
        if records:
            self._store.commit(records)
        self._histories_before.clear()
        return bool(records)

    def _histories(self, key: ProjectKey, outcomes: Iterable[tuple[str, Outcome]]) -> Iterator[PastChange]:
        histories: dict[str, History] = {}
        settled: set[str] = set()
        for service_id, outcome in outcomes:
            if outcome.past_events or outcome.past_updates:
                before = histories.get(service_id) or self._history_before(key, service_id)
                histories[service_id] = extended(before, outcome.past_events, outcome.past_updates)
            if outcome.past_updates:
                settled.add(service_id)
        for service_id, history in histories.items():
            updates = tuple(_listed(history.updates)) if service_id in settled else None
            yield PastChange(key, service_id, _encode(history), updates)

    def _history_before(self, key: ProjectKey, service_id: str) -> History:
        before = self._histories_before.get((key, service_id))
        if before is None:
            before = self.history(key, service_id) or History()
            self._histories_before[key, service_id] = before
        return before

    def forget(self, configured: Collection[ProjectKey], absent_until: EpochMs, now: EpochMs) -> bool:
        """Forget a part of what was deleted, or not configured any more, by `absent_until`.

        Returns whether more is left.
        """
        return self._store.forget(configured, absent_until, now)

    def size(self) -> int:
        """Bytes on disk."""
        return self._store.size()


def _decoded(decode: Callable[[bytes], T], blob: bytes) -> T:
    try:
        return decode(blob)
    except msgspec.DecodeError as error:
        raise StoreError(
            f"The store holds what this version does not know ({error}): run the newer version that wrote it,"
            " or give this one a directory of its own with --storage.path"
        ) from error


def _listed(updates: Iterable[PastUpdate]) -> Iterator[ListedUpdate]:
    """How the store lists the updates of a service, which are in the order of their times."""
    for update_time, group in groupby((past.update for past in updates), key=lambda each: each.update_time):
        for number, update in enumerate(group):
            yield ListedUpdate(update_time, number, update.result)


def _services(key: ProjectKey, services: Mapping[str, StateChange]) -> Iterator[ServiceChange | CallsChange]:
    for service_id, change in services.items():
        if not change.present or change.before is None or not _only_calls(change.before, change.after):
            yield ServiceChange(key, service_id, _encode(change.after), present=change.present)
        calls = _call_totals(change.after)
        if change.before is None or _call_totals(change.before) != calls:
            yield CallsChange(key, service_id, _encode(calls))


def _call_totals(state: ServiceState) -> CallTotals:
    return tuple(state.counters.values[name] for name in ROW_COUNTERS)


def _project(change: changes.ProjectChange) -> Iterator[ProjectChange]:
    if change.totals_changed:
        yield ProjectChange(change.key, _encode(_ProjectRecord(change.view.totals)))


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
