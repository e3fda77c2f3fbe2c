"""Accounts on disk: what the store's blobs hold, and which of the staged changes are worth a write."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from exporter.adapters.store.database import Change, PastChange, ProjectChange, ServiceChange, Store
from exporter.core.account import ROW_COUNTERS, Account, Outcome, without_call_totals
from exporter.core.counters import resumed
from exporter.core.fleet import Fleet
from exporter.core.history import History, extended
from exporter.course import Course
from exporter.project import Project, Settings

Key = tuple[str, str]  # a project's name and project_id
Calls = tuple[float, ...]  # what the `ROW_COUNTERS` are at


class _Kept(msgspec.Struct, frozen=True):
    """What is kept of a project as a whole.

    Call totals change with every list. Here they cost one small write for all services, and an account
    is not written for their sake; those inside an account may be older.
    """

    fleet: Fleet
    calls: dict[str, Calls]


_encode = msgspec.msgpack.Encoder().encode
_account = msgspec.msgpack.Decoder(Account).decode
_history = msgspec.msgpack.Decoder(History).decode
_kept = msgspec.msgpack.Decoder(_Kept).decode


class Books:
    """The store, in terms of accounts. Every method may raise `StoreError`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self, settings: Settings, now: int) -> Project:
        """A project with everything that is known of it at `now` (ms)."""
        key = (settings.name, settings.project_id)
        blob = self._store.projects().get(key)
        kept = None if blob is None else _kept(blob)
        calls = kept.calls if kept else {}
        stored = {
            service_id: _restored(found, now, calls.get(service_id))
            for service_id, found in self._store.services(key)
        }
        fleet = None
        if kept is not None:
            fleet = msgspec.structs.replace(kept.fleet, counters=resumed(kept.fleet.counters, now))

        def recall(service_id: str, now: int) -> Account | None:
            found = self._store.service(key, service_id)
            return None if found is None else _restored(found, now)

        return Project(settings, stored, fleet, recall)

    def changes(
        self, courses: Iterable[Course], outcomes: Iterable[tuple[Course, str, Outcome]]
    ) -> list[Change]:
        """What has to be written before the staged changes, to which `outcomes` led, may be shown."""
        found: list[Change] = list(self._past_changes(outcomes))
        for course in courses:
            staged, fleet = course.project.staged()
            found += _service_changes(course, staged)
            before = course.project.services
            if fleet is not None or any(_calls_differ(before.get(s), after) for s, after in staged.items()):
                present = {s: account for s, account in {**before, **staged}.items() if account is not None}
                kept = _Kept(fleet or course.project.fleet, {s: _calls(a) for s, a in present.items()})
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


def _service_changes(course: Course, staged: Mapping[str, Account | None]) -> Iterator[ServiceChange]:
    for service_id, account in staged.items():
        before = course.project.services.get(service_id)
        if account is None:
            if before is not None:
                yield ServiceChange(course.key, service_id, _encode(before), present=False)
        elif before is None or not _only_calls(before, account):
            yield ServiceChange(course.key, service_id, _encode(account), present=True)


def _restored(blob: bytes, now: int, calls: Calls | None = None) -> Account:
    account = _account(blob)
    totals = account.counters
    if calls is not None:
        values = totals.values | dict(zip(ROW_COUNTERS, calls, strict=True))
        totals = msgspec.structs.replace(totals, values=values)
    return msgspec.structs.replace(account, counters=resumed(totals, now))


def _calls(account: Account) -> Calls:
    return tuple(account.counters.values[name] for name in ROW_COUNTERS)


def _calls_differ(before: Account | None, after: Account | None) -> bool:
    return after is not None and (before is None or _calls(before) != _calls(after))


def _only_calls(before: Account, after: Account) -> bool:
    """Whether nothing changed but the call totals, which are kept apart."""
    if before.counters.unscraped != after.counters.unscraped:
        return False
    if without_call_totals(before.row) != without_call_totals(after.row):
        return False
    return msgspec.structs.replace(after, row=before.row, counters=before.counters) == before
