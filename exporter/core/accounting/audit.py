"""Totals of what was counted of each day of an event log, to be compared with a later read of that day.

Rules of this file:

1. Only final entries are added, see `ledger`: of these nothing is counted any more, so what was counted and
   what the log shows must be the same at any later time. Entries that are not final yet are compared by
   every ordinary read.
2. A total is a count and a sum of hashes. It does not depend on the order, and keeps no text.
3. A day is compared once, when it has ended and `lateness` has passed.
4. The API forgets from the old end. So entries are only missing where the log still shows an older one.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import chain

import msgspec

from exporter.core.accounting.ledger import Applied, Key, Ledger
from exporter.core.records import EVENT_TYPES, Event

DAY_MS = 24 * 3600 * 1000
# A weekend without a spare request. What is older is not compared any more: each day costs room in the store.
DAYS_KEPT = 3

MISSING = "missing"  # counted, and shown no more
EXTRA = "extra"  # shown, and never counted
KINDS = (MISSING, EXTRA)

_DIGESTS = 1 << 64  # a wrong total looks right once in this many times


class DayTotal(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The final entries of one type on one UTC day.

    `day` is its first ms, `first` the time of the oldest entry (ms), `digest` the sum of the hashes.
    """

    day: int
    event_type: str  # "" for all types that this version does not know
    count: int
    digest: int
    first: int


class Audit(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """What is to be compared of one event log; all times in ms.

    `since`: final entries that are later than this are in `totals`; None: none was final yet, or only in a
    version that kept no totals. `shown`: an entry that the last comparison was shown, of before `since`.
    """

    since: int | None = None
    totals: tuple[DayTotal, ...] = ()
    shown: int | None = None


class Span(msgspec.Struct, frozen=True, gc=False):
    """The closed days that can be compared now; all times in ms.

    `after` is exclusive, `until` inclusive. If the log shows an entry of `reach` or before, it has forgotten
    nothing of the span; None: nothing was counted in it.
    """

    after: int
    until: int
    reach: int | None

    @property
    def read_after(self) -> int:
        """What is later than this must be read."""
        return self.after if self.reach is None else min(self.after, self.reach - 1)


class Difference(msgspec.Struct, frozen=True, gc=False):
    """A day of which the log shows something else than was counted; the entries of each."""

    day: int
    kinds: tuple[str, ...]
    counted: int
    shown: int

    @property
    def date(self) -> str:
        """The day as people write it."""
        return datetime.fromtimestamp(self.day / 1000, UTC).date().isoformat()


def with_final(audit: Audit, before: Ledger, applied: Applied, now: int) -> Audit:
    """Add what a read has made final; the same object if that is nothing. `now` in ms."""
    watermark = applied.ledger.watermark
    if watermark is None or watermark == before.watermark:
        return audit
    since = audit.since if audit.since is not None else before.watermark
    after = max(0 if since is None else since, _oldest_kept(now) - 1)
    kept = tuple(total for total in audit.totals if total.day >= _day(after + 1))
    counted = chain(applied.growth.items(), ((tally.key, tally.counted) for tally in before.live))
    totals = _added(kept, ((key, times) for key, times in counted if after < key.time <= watermark))
    if totals == kept:
        return audit
    if since is None:  # the log's first read, and it showed nothing of the days before
        after = totals[0].day - 1
    return Audit(after, totals, audit.shown if after == audit.since else None)


def span(audit: Audit, watermark: int | None, now: int, lateness: int) -> Span | None:
    """What is compared next, None for nothing yet; `now` and `lateness` in ms."""
    if audit.since is None or watermark is None:
        return None
    after = max(audit.since, _oldest_kept(now) - 1)
    until = min(watermark, _day(now - lateness) - 1)
    if until <= after:
        return None
    reach = audit.shown if after == audit.since else None
    if reach is None:
        reach = min((total.first for total in _within(audit, after, until)), default=None)
    return Span(after, until, reach)


def compared(audit: Audit, span: Span, events: Iterable[Event]) -> tuple[Audit, tuple[Difference, ...]]:
    """What is left to compare, and the differences that `events` show: all that are later than `read_after`.

    `audit` is the one that `span` was made of.
    """
    shown: dict[Key, int] = {}
    newest = oldest = None
    for event in events:
        if event.occur_time > span.until:
            continue
        newest = event.occur_time if newest is None else max(newest, event.occur_time)
        oldest = event.occur_time if oldest is None else min(oldest, event.occur_time)
        if event.occur_time > span.after:
            key = Key(event.occur_time, event.event_type, event.event_info)
            shown[key] = shown.get(key, 0) + 1
    whole = span.reach is not None and oldest is not None and oldest <= max(span.reach, span.after)
    differences = _differences(_within(audit, span.after, span.until), _added((), shown.items()), whole=whole)
    end = _day(span.until) + DAY_MS - 1
    left = tuple(total for total in audit.totals if total.day > end)
    return Audit(end, left, newest), differences


def _differences(
    counted: Iterable[DayTotal], shown: Iterable[DayTotal], *, whole: bool
) -> tuple[Difference, ...]:
    """Day by day; without `whole` the log may have forgotten entries."""
    ours = {(total.day, total.event_type): total for total in counted}
    theirs = {(total.day, total.event_type): total for total in shown}
    found: dict[int, set[str]] = {}
    for key in ours.keys() | theirs.keys():
        mine, other = (total.get(key, DayTotal(*key, 0, 0, 0)) for total in (ours, theirs))
        replaced = mine.count == other.count and mine.digest != other.digest
        if whole and (other.count < mine.count or replaced):
            found.setdefault(key[0], set()).add(MISSING)
        if other.count > mine.count or replaced:
            found.setdefault(key[0], set()).add(EXTRA)
    return tuple(
        Difference(
            day,
            tuple(kind for kind in KINDS if kind in kinds),
            sum(total.count for total in ours.values() if total.day == day),
            sum(total.count for total in theirs.values() if total.day == day),
        )
        for day, kinds in sorted(found.items())
    )


def _added(totals: Iterable[DayTotal], entries: Iterable[tuple[Key, int]]) -> tuple[DayTotal, ...]:
    found = {(total.day, total.event_type): total for total in totals}
    for key, times in entries:
        place = _day(key.time), key.kind if key.kind in EVENT_TYPES else ""
        before = found.get(place) or DayTotal(*place, 0, 0, key.time)
        digest = (before.digest + times * _hash(key)) % _DIGESTS
        found[place] = DayTotal(*place, before.count + times, digest, min(before.first, key.time))
    return tuple(total for _, total in sorted(found.items()))


def _within(audit: Audit, after: int, until: int) -> Iterable[DayTotal]:
    return (total for total in audit.totals if _day(after + 1) <= total.day <= until)


def _hash(key: Key) -> int:
    whole = f"{key.time} {key.kind}\0{key.text}".encode()
    return int.from_bytes(blake2b(whole, digest_size=8).digest())


def _day(time: int) -> int:
    """The first ms of its UTC day."""
    return time - time % DAY_MS


def _oldest_kept(now: int) -> int:
    return _day(now) - DAYS_KEPT * DAY_MS
