"""Accounts on disk: what the store's blobs hold, and which of the staged changes are worth a write."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from exporter.adapters.store import ProjectChange, ServiceChange, Store
from exporter.core.account import Account, without_call_totals
from exporter.core.fleet import Fleet
from exporter.course import Course
from exporter.project import Project, Settings

_encode = msgspec.msgpack.Encoder().encode
_account = msgspec.msgpack.Decoder(Account).decode
_fleet = msgspec.msgpack.Decoder(Fleet).decode


class Books:
    """The store, in terms of accounts. Every method may raise `StoreError`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self, settings: Settings) -> Project:
        """A project with everything that is known of it."""
        key = (settings.name, settings.project_id)
        blob = self._store.projects().get(key)
        stored = {service_id: _account(found) for service_id, found in self._store.services(key)}

        def recall(service_id: str) -> Account | None:
            found = self._store.service(key, service_id)
            return None if found is None else _account(found)

        return Project(settings, stored, None if blob is None else _fleet(blob), recall)

    def changes(self, courses: Iterable[Course]) -> list[ServiceChange | ProjectChange]:
        """What has to be written before the staged changes may be shown."""
        found: list[ServiceChange | ProjectChange] = []
        for course in courses:
            staged, fleet = course.project.staged()
            found += _service_changes(course, staged)
            if fleet is not None:
                found.append(ProjectChange(course.key, _encode(fleet)))
        return found

    def write(self, changes: list[ServiceChange | ProjectChange]) -> None:
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


def _only_calls(before: Account, after: Account) -> bool:
    """Whether nothing changed but the call totals, which the next list tells anew."""
    if before.counters.unscraped != after.counters.unscraped:
        return False
    if without_call_totals(before.row) != without_call_totals(after.row):
        return False
    return msgspec.structs.replace(after, row=before.row, counters=before.counters) == before
