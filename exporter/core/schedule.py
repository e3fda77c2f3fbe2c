"""Who is read, and when next: pay for change, not for size."""

from hashlib import blake2b

import msgspec

from exporter.core.account import Account

# A service in one of these may fail at any moment.
_DEPLOYING = ("deploying", "pending", "waiting")

# After a change of the row, log entries may still follow; three quick looks catch them.
_QUICK_LOOKS = 3

# Backing off doubles; past this exponent every wait is the sweep's.
_MOST_DOUBLINGS = 10


class Pace(msgspec.Struct, frozen=True):
    """The three intervals of the configuration, in ms."""

    interval: int
    active_interval: int
    sweep_interval: int


class Watch(msgspec.Struct, frozen=True):
    """What the schedule remembers of one service; none of it is worth keeping over a restart."""

    tried_at: int | None = None  # when the last read began, whatever came of it
    full_at: int | None = None  # when the last read of the whole update log began
    changed_at: int | None = None  # when its row last changed beyond its call totals
    failures: int = 0  # reads in a row that failed
    asked_why: int | None = None  # update_time of the failure for which the detail was read


class Turn(msgspec.Struct, frozen=True):
    """When a service is due, and its urgency: of those that are due the smallest goes first. Both in ms."""

    due: int
    urgency: int


def slot(service_id: str, sweep_interval: int) -> int:
    """The service's own ms within every sweep interval, so that full reads are spread evenly."""
    return int.from_bytes(blake2b(service_id.encode(), digest_size=8).digest()) % sweep_interval


def is_active(account: Account, watch: Watch, pace: Pace) -> bool:
    """Whether something is going on that is read at `active_interval`."""
    if account.open or account.row.status in _DEPLOYING:
        return True
    return (
        watch.changed_at is not None
        and watch.tried_at is not None
        and watch.tried_at < watch.changed_at + _QUICK_LOOKS * pace.active_interval
    )


def next_poll(account: Account, watch: Watch, pace: Pace, now: int) -> Turn:
    """The service's next turn.

    One that is active goes before one that is only swept, unless that is overdue by a whole sweep:
    a fleet full of changes must not starve the quiet services.
    """
    if watch.tried_at is None:
        return Turn(now, now)
    urgent = -pace.sweep_interval
    if watch.changed_at is not None and watch.changed_at > watch.tried_at:
        return Turn(watch.changed_at, watch.changed_at + urgent)
    sweep = watch.tried_at + pace.sweep_interval
    sweep -= (watch.tried_at - slot(account.row.service_id, pace.sweep_interval)) % pace.sweep_interval
    if watch.failures:
        wait = pace.active_interval * 2 ** min(watch.failures - 1, _MOST_DOUBLINGS)
        due = watch.tried_at + min(wait, pace.sweep_interval)
        return Turn(due, due)
    if is_active(account, watch, pace):
        due = min(watch.tried_at + pace.active_interval, sweep)
        return Turn(due, due + urgent)
    return Turn(sweep, sweep)


def instant(account: Account, watch: Watch, pace: Pace, now: int) -> int | None:
    """The `update_time` (ms) of the one entry to read again instead of the whole log; None: the whole."""
    if len(account.open) != 1 or watch.full_at is None or watch.failures:
        return None
    if watch.changed_at is not None and watch.changed_at >= watch.full_at:
        return None
    # The sweep reads everything in full, open or not.
    if slot_passed(account.row.service_id, watch.full_at, now, pace.sweep_interval):
        return None
    return account.open[0].update_time


def slot_passed(service_id: str, since: int, now: int, sweep_interval: int) -> bool:
    """Whether the service's slot came round after `since` (ms) and until `now` (ms)."""
    own = slot(service_id, sweep_interval)
    return (now - own) // sweep_interval > (since - own) // sweep_interval


def wants_detail(account: Account, watch: Watch) -> bool:
    """Whether the detail's `error_msg` should be asked for: a failure that no event explains, once each."""
    return (
        account.failing
        and account.cause is None
        and account.row.status == "failed"
        and account.settled is not None
        and watch.asked_why != account.settled.update_time
    )
