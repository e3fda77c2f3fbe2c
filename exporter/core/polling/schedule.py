"""Who is read, and when next: pay for change, not for size."""

from hashlib import blake2b

import msgspec

from exporter.core.accounting.service_state import ServiceState
from exporter.core.records import DEPLOYING_STATUSES

# After a change of the row, log entries may still follow; three quick looks catch them.
_QUICK_LOOKS = 3

# Backing off doubles; past this exponent every wait is the sweep's.
_MOST_DOUBLINGS = 10


class PollIntervals(msgspec.Struct, frozen=True):
    """The three intervals of the configuration, in ms."""

    interval: int
    active_interval: int
    sweep_interval: int


class PollState(msgspec.Struct, frozen=True):
    """What the schedule remembers of one service; none of it is worth keeping over a restart."""

    tried_at: int | None = None  # when the last read began, whatever came of it
    full_at: int | None = None  # when the last read of the whole update log began
    changed_at: int | None = None  # when its row last changed beyond its call totals
    failures: int = 0  # reads in a row that failed
    asked_why: int | None = None  # update_time of the failure for which the detail was read


class NextPoll(msgspec.Struct, frozen=True):
    """When a service is due, and its urgency: of those that are due the smallest goes first. Both in ms."""

    due: int
    urgency: int


def slot(service_id: str, sweep_interval: int) -> int:
    """The service's own ms within every sweep interval, so that full reads are spread evenly."""
    return int.from_bytes(blake2b(service_id.encode(), digest_size=8).digest()) % sweep_interval


def is_active(state: ServiceState, polled: PollState, intervals: PollIntervals) -> bool:
    """Whether something is going on that is read at `active_interval`."""
    if state.open or state.row.status in DEPLOYING_STATUSES:
        return True
    return (
        polled.changed_at is not None
        and polled.tried_at is not None
        and polled.tried_at < polled.changed_at + _QUICK_LOOKS * intervals.active_interval
    )


def next_poll(state: ServiceState, polled: PollState, intervals: PollIntervals, now: int) -> NextPoll:
    """The service's next turn.

    One that is active goes before one that is only swept, unless that is overdue by a whole sweep:
    a fleet full of changes must not starve the quiet services.
    """
    if polled.tried_at is None:
        return NextPoll(now, now)
    urgent = -intervals.sweep_interval
    if polled.changed_at is not None and polled.changed_at > polled.tried_at:
        return NextPoll(polled.changed_at, polled.changed_at + urgent)
    sweep = polled.tried_at + intervals.sweep_interval
    sweep -= (
        polled.tried_at - slot(state.row.service_id, intervals.sweep_interval)
    ) % intervals.sweep_interval
    if polled.failures:
        wait = intervals.active_interval * 2 ** min(polled.failures - 1, _MOST_DOUBLINGS)
        due = polled.tried_at + min(wait, intervals.sweep_interval)
        return NextPoll(due, due)
    if is_active(state, polled, intervals):
        due = min(polled.tried_at + intervals.active_interval, sweep)
        return NextPoll(due, due + urgent)
    return NextPoll(sweep, sweep)


def instant(state: ServiceState, polled: PollState, intervals: PollIntervals, now: int) -> int | None:
    """The `update_time` (ms) of the one entry to read again instead of the whole log; None: the whole."""
    if len(state.open) != 1 or polled.full_at is None or polled.failures:
        return None
    if polled.changed_at is not None and polled.changed_at >= polled.full_at:
        return None
    # The sweep reads everything in full, open or not.
    if slot_passed(state.row.service_id, polled.full_at, now, intervals.sweep_interval):
        return None
    return state.open[0].update_time


def slot_passed(service_id: str, since: int, now: int, sweep_interval: int) -> bool:
    """Whether the service's slot came round after `since` (ms) and until `now` (ms)."""
    own = slot(service_id, sweep_interval)
    return (now - own) // sweep_interval > (since - own) // sweep_interval


def wants_detail(state: ServiceState, polled: PollState) -> bool:
    """Whether the detail's `error_msg` should be asked for: a failure that no event explains, once each."""
    return (
        state.failing
        and state.cause is None
        and state.row.status == "failed"
        and state.settled is not None
        and polled.asked_why != state.settled.update_time
    )
