"""What has been counted: a grow-only multiset of settled entries, exact without record ids.

Rules of this file:

1. A key is (time, kind, text). Entries with equal keys are separate entries, by multiplicity.
2. A key's count is the largest multiplicity that any whole read has shown. The growth is the
   posting; nothing is ever taken back. What vanishes or changes is an anomaly, a value.
3. A key is live while it is later than `final_until`, or its instant is held open. Only live keys
   are kept and compared; all others are final, and what a read shows of them is passed over.
4. `final_until` only rises, and never past (now - lateness): an entry dated in the future must not
   make final what is still to come.
"""

from collections.abc import Iterable, Mapping
from itertools import chain

import msgspec

# The API keeps entries for about a month. What vanishes within a week of its date was not forgotten
# by age, whatever the exact month is.
YOUNGEST_FORGOTTEN_MS = 7 * 24 * 3600 * 1000
# And no month is longer than this, with a week for a slow broom.
OLDEST_KEPT_MS = 38 * 24 * 3600 * 1000

VANISHED = "vanished"
CHANGED = "changed"
FUTURE = "future"
ANOMALIES = (VANISHED, CHANGED, FUTURE)


class Key(msgspec.Struct, frozen=True, gc=False, array_like=True, order=True):
    """What tells one settled entry from another: its time in ms, its kind, its text."""

    time: int
    kind: str
    text: str = ""


class Tally(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A live key, how often it was counted, and how often the last read showed it."""

    key: Key
    counted: int
    visible: int


class Anomaly(msgspec.Struct, frozen=True, gc=False):
    """Something that the log should not do; `kind` is one of `ANOMALIES`."""

    kind: str
    key: Key


class Ledger(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """What has been counted of one log.

    `read_once`: it was read at least once. `preexisting`: what the next read shows is older than our watch,
    because it is the first read, or the first one since somebody else has read the log in our place.
    """

    read_once: bool = False
    preexisting: bool = False
    watermark: int | None = None
    live: tuple[Tally, ...] = ()
    held: tuple[int, ...] = ()

    @property
    def is_behind(self) -> bool:
        """Whether somebody else has read the log after us, and what was counted is no longer the newest."""
        return self.read_once and self.preexisting

    def is_live(self, time: int) -> bool:
        """Whether an entry of this time (ms) may still be counted."""
        return self.watermark is None or time > self.watermark or time in self.held


class Read(msgspec.Struct, frozen=True, gc=False):
    """One whole read of a log, or of a part of it.

    `now` is when it began, on the slower of our clock and the cloud's; `answered_at` the cloud's clock when
    it was answered (None: `now`): entries of the time between are as late as they should be.
    `settled` holds the multiplicity of every settled key shown, `open_instants` the times at which
    an open entry is shown, also beside a settled one. `after` (exclusive) or `instant` tell which part
    was asked for; neither: all of it.
    """

    settled: Mapping[Key, int]
    now: int
    open_instants: frozenset[int] = frozenset()
    after: int | None = None
    instant: int | None = None
    answered_at: int | None = None

    def covers(self, time: int) -> bool:
        """Whether an entry of this time would have been shown."""
        if self.instant is not None:
            return time == self.instant
        return self.after is None or time > self.after


class Applied(msgspec.Struct, frozen=True, gc=False):
    """The ledger after a read, the growth of each key that grew, and the anomalies found."""

    ledger: Ledger
    growth: Mapping[Key, int]
    anomalies: tuple[Anomaly, ...]


def apply(ledger: Ledger, read: Read, lateness: int) -> Applied:
    """Count what `read` shows and `ledger` has not counted yet.

    Args:
        ledger: what was counted before.
        read: one whole read; a torn one must never come here.
        lateness: how many ms after its date an entry may appear.

    """
    watermark = _final_until(ledger, read, lateness)
    held = _held(ledger, read)

    def stays_live(time: int) -> bool:
        return watermark is None or time > watermark or time in held

    tallies = {tally.key: tally for tally in ledger.live}
    growth = _growth(tallies, ledger, read)
    for key, shown in read.settled.items():
        before = tallies.get(key)
        # Of what is final from now on nothing is kept.
        if before is None and not stays_live(key.time):
            continue
        if not read.covers(key.time) or not ledger.is_live(key.time):
            continue
        if before is None:
            tallies[key] = Tally(key, shown, shown)
        elif shown >= before.visible:
            tallies[key] = Tally(key, max(before.counted, shown), shown)
    clock = read.now if read.answered_at is None else read.answered_at
    anomalies = [Anomaly(FUTURE, key) for key in growth if key.time > clock]
    anomalies += _losses(tallies, read)
    for key, tally in tallies.items():
        if read.covers(key.time) and read.settled.get(key, 0) < tally.visible:
            tallies[key] = Tally(key, tally.counted, read.settled.get(key, 0))
    live = sorted((t for t in tallies.values() if stays_live(t.key.time)), key=lambda tally: tally.key)
    return Applied(
        Ledger(read_once=True, watermark=watermark, held=held, live=tuple(live)), growth, tuple(anomalies)
    )


def _growth(tallies: Mapping[Key, Tally], ledger: Ledger, read: Read) -> Mapping[Key, int]:
    """What the read shows more of than was counted, and how much more."""
    if not tallies and all(read.covers(key.time) and ledger.is_live(key.time) for key in read.settled):
        return read.settled  # as a first read, which may be of a million entries: not copied
    growth = {}
    for key, shown in read.settled.items():
        before = tallies.get(key)
        counted = before.counted if before else 0
        if shown > counted and read.covers(key.time) and ledger.is_live(key.time):
            growth[key] = shown - counted
    return growth


def _losses(tallies: Mapping[Key, Tally], read: Read) -> Iterable[Anomaly]:
    """Entries that an earlier read showed and this one should have, but did not."""
    lost = [
        key
        for key, tally in tallies.items()
        if read.covers(key.time) and read.settled.get(key, 0) < tally.visible
    ]
    if not lost:
        return
    shown_times = {key.time for key in read.settled} | read.open_instants
    oldest = min(shown_times, default=None)
    for key in lost:
        if key.time in shown_times:
            yield Anomaly(CHANGED, key)
        # The API forgets from the old end: what is older than all that is left may have been forgotten.
        elif (oldest is not None and oldest < key.time) or read.now - key.time < YOUNGEST_FORGOTTEN_MS:
            yield Anomaly(VANISHED, key)


def _held(ledger: Ledger, read: Read) -> tuple[int, ...]:
    """Instants of open entries that stay live however old they get.

    Also where a settled entry of the same time is shown: of two updates in one millisecond the other
    may still settle.

    An instant that is final already is not taken up: its settled keys are forgotten, and would be
    counted a second time when they show again.
    """
    if not ledger.held and not read.open_instants:
        return ()
    settled = {key.time for key in read.settled}
    kept = {
        time
        for time in ledger.held
        # One that is not shown at all may come back settled, until the API forgets it.
        if not read.covers(time) or (time not in settled and read.now - time < OLDEST_KEPT_MS)
    }
    taken = {time for time in read.open_instants if read.covers(time) and ledger.is_live(time)}
    return tuple(sorted(kept | taken))


def _final_until(ledger: Ledger, read: Read, lateness: int) -> int | None:
    newest = max(chain((key.time for key in read.settled), read.open_instants), default=None)
    # One instant alone, or an empty log, says nothing about what else has come.
    if read.instant is not None or newest is None:
        return ledger.watermark
    # An entry that is late to the very millisecond may follow a read of the same millisecond.
    risen = min(newest, read.now) - lateness - 1
    return risen if ledger.watermark is None else max(ledger.watermark, risen)
