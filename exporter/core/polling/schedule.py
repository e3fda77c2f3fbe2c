"""When each service is read next, and which of those that are due goes first.

A read costs two requests, so a service is read often only while something happens to it:

    its row in the list changed               at once, then three times more at `active_interval`
    it deploys, or its newest update is open  at `active_interval`; after half an hour less and less often
    somebody said that it is being deployed   at once, then at `active_interval` until its update shows
    its last read failed                      after `active_interval`, doubled at each further failure
    nothing of the above                      once in `sweep_interval`, at a moment of its own

The rate limit may allow less than what is due. Then `Urgency` decides, and `order_of_turn` leaves a part of
the reads to those that are not urgent, so that every service is read in the end.
"""

from enum import IntEnum
from hashlib import blake2b

import msgspec

from exporter.core.accounting.service_state import ServiceState
from exporter.core.records import DEPLOYING_STATUSES

# After a change of the row, log entries may still follow; three quick looks catch them.
_QUICK_LOOKS = 3

# Backing off doubles; past this exponent every wait is the sweep's.
_MOST_DOUBLINGS = 10

# An update that is open for longer than this is read less and less often. The cloud gives up a deployment
# after 20 minutes unless its owner chose another time, between 3 and 120; the build of an image after 30
# (Open Telekom Cloud, user manual of ModelArts, page modelarts_13_0262).
_USUAL_UPDATE_MS = 30 * 60 * 1000


# Somebody who says that a deployment has begun says it a little later. As `wait` has it, a minute at most.
BEGAN_BEFORE_MS = 60_000

# If its update does not show, a service of which that was said is read often for so long: an entry may appear
# that late in the log, unless `poll.lateness` says otherwise. It costs 120 requests.
_EXPECTED_MS = 10 * 60 * 1000


class Urgency(IntEnum):
    """Why a service is read; the most urgent one first."""

    # Its row changed, or somebody said that it is being deployed, after its last good read: there is
    # something that we do not know.
    CHANGED = 0
    ACTIVE = 1  # it is deploying, its newest update is open, or its row has just changed
    FAILING = 2  # its newest settled update failed, or its row says so
    QUIET = 3


_URGENT_FIRST = (Urgency.CHANGED, Urgency.ACTIVE, Urgency.FAILING, Urgency.QUIET)
_ACTIVE_FIRST = (Urgency.ACTIVE, Urgency.CHANGED, Urgency.FAILING, Urgency.QUIET)
_FAILING_FIRST = (Urgency.FAILING, Urgency.QUIET, Urgency.CHANGED, Urgency.ACTIVE)
_QUIET_FIRST = (Urgency.QUIET, Urgency.FAILING, Urgency.CHANGED, Urgency.ACTIVE)

# Who is looked for first, turn by turn. Of four turns three are for services to which something happens: they
# wait at most a third longer than if there were no others. One is for the others: to read them all takes at
# most four times as long as if nothing happened, or eight times where failing ones use half of these turns.
_TURNS = (
    *(_URGENT_FIRST, _ACTIVE_FIRST, _URGENT_FIRST, _FAILING_FIRST),
    *(_URGENT_FIRST, _ACTIVE_FIRST, _URGENT_FIRST, _QUIET_FIRST),
)

# The place among services of the same urgency; the smaller goes first. They are ordered by age: first those
# that were never read, by slot, which is as fair as a lot (0, slot); then those that only an earlier process
# read (1, epoch ms of that); then those that this one read (2, ticks).
Rank = tuple[int, int]


class PollIntervals(msgspec.Struct, frozen=True, gc=False):
    """The three intervals of the configuration, in ms."""

    interval: int
    active_interval: int
    sweep_interval: int


class PollState(msgspec.Struct, frozen=True, gc=False):
    """What is remembered of the reads of one service, until the program ends. Times are ticks (ms)."""

    tried_at: int | None = None  # when the last read began, whatever came of it
    succeeded_at: int | None = None  # when the last read that succeeded began
    full_at: int | None = None  # when the last read of the whole update log began
    changed_at: int | None = (
        None  # when its row last changed beyond its call totals, or a deployment was told
    )
    failures: int = 0  # reads in a row that failed
    asked_why: int | None = None  # begin (ms) of the failed attempt for which the detail was read
    told_at: int | None = None  # when somebody last said that it is being deployed
    told_since: int = 0  # then: when (epoch, ms) the update may have begun


class NextPoll(msgspec.Struct, frozen=True, gc=False):
    """When (ticks, ms) a service is due, and its place among those that are due."""

    due: int
    urgency: Urgency
    rank: Rank


def order_of_turn(turn: int) -> tuple[Urgency, ...]:
    """In which order to look for the service that is read at this turn; turns are counted from 0.

    As long as there are such services, of four turns in a row at least one is for a service that is FAILING
    or QUIET, of eight one for the QUIET one that waits longest, and of four two are for CHANGED and one for
    ACTIVE ones. A turn that nobody of its own needs goes to the next in the order.
    """
    return _TURNS[turn % len(_TURNS)]


def slot(service_id: str, sweep_interval: int) -> int:
    """The service's own ms within every sweep interval, so that full reads are spread evenly."""
    return int.from_bytes(blake2b(service_id.encode(), digest_size=8).digest()) % sweep_interval


def slot_passed(service_id: str, since: int, now: int, sweep_interval: int) -> bool:
    """Whether the service's slot came round after `since` (ms) and until `now` (ms)."""
    own = slot(service_id, sweep_interval)
    return (now - own) // sweep_interval > (since - own) // sweep_interval


def changed_before(service: ServiceState, intervals: PollIntervals) -> bool:
    """Whether a service that was not read since the start changed after what is stored of it was read.

    The list that showed the change may have been stored by a process that ended before it read the service.
    A service that was never read and is no history of the first start is new: that is a change, too.
    """
    if service.read_at is None:
        return not service.updates.preexisting
    # As long after a change as the program looks again while it runs; it also allows for clocks that differ.
    quick = _QUICK_LOOKS * intervals.active_interval
    dates = (service.row.transition_at, service.row.operation_time)
    return any(date is not None and date + quick > service.read_at for date in dates)


def urgency(service: ServiceState, poll_state: PollState, intervals: PollIntervals) -> Urgency:
    """Why the service is read next."""
    if _is_unread(poll_state):
        return Urgency.CHANGED
    if _active_interval(service, poll_state, intervals) is not None:
        return Urgency.ACTIVE
    failing = service.failing or service.row.status == "failed"
    return Urgency.FAILING if failing else Urgency.QUIET


def next_poll(service: ServiceState, poll_state: PollState, intervals: PollIntervals, now: int) -> NextPoll:
    """When the service is due next, and its place among those that are due; `now` in ticks."""
    why = urgency(service, poll_state, intervals)
    tried_at, changed_at = poll_state.tried_at, poll_state.changed_at
    if tried_at is None:
        return NextPoll(now, why, _rank_before_first_try(service, intervals))
    active, sweep = intervals.active_interval, intervals.sweep_interval
    if changed_at is not None and changed_at > tried_at:
        due = changed_at
    elif poll_state.failures:
        due = tried_at + min(active * 2 ** min(poll_state.failures - 1, _MOST_DOUBLINGS), sweep)
    else:
        own_slot = tried_at + sweep - (tried_at - slot(service.row.service_id, sweep)) % sweep
        due = min(tried_at + (_active_interval(service, poll_state, intervals) or sweep), own_slot)
    return NextPoll(due, why, (2, due if why <= Urgency.ACTIVE else tried_at))


def update_time_filter(
    service: ServiceState, poll_state: PollState, intervals: PollIntervals, now: int
) -> int | None:
    """The `update_time` (ms) of the one entry to read again instead of the whole log; None: the whole."""
    if len(service.open) != 1 or not service.under_way:
        return None
    if poll_state.full_at is None or poll_state.failures:
        return None
    if poll_state.changed_at is not None and poll_state.changed_at >= poll_state.full_at:
        return None
    # The sweep reads everything in full, open or not.
    if slot_passed(service.row.service_id, poll_state.full_at, now, intervals.sweep_interval):
        return None
    return service.open[0].update_time


def wants_detail(service: ServiceState, poll_state: PollState) -> bool:
    """Whether the detail's `error_msg` should be asked for: a failure that no event explains, once each.

    An update that is retried in place may fail once more for another reason.
    """
    return (
        service.failing
        and not service.is_explained
        and service.row.status == "failed"
        and poll_state.asked_why != service.attempt_begin
    )


def _is_unread(poll_state: PollState) -> bool:
    """Whether the row changed after the last good read."""
    if poll_state.changed_at is None:
        return False
    return poll_state.succeeded_at is None or poll_state.changed_at > poll_state.succeeded_at


def _has_just_changed(poll_state: PollState, intervals: PollIntervals) -> bool:
    """Whether a change of the row was read, but not yet often enough."""
    if poll_state.changed_at is None or poll_state.succeeded_at is None:
        return False
    return poll_state.succeeded_at < poll_state.changed_at + _QUICK_LOOKS * intervals.active_interval


def _is_update_expected(service: ServiceState, poll_state: PollState) -> bool:
    """Whether somebody said that the service is being deployed, and no update of that shows yet."""
    if poll_state.told_at is None:
        return False
    shows = service.newest is not None and service.newest.update_time >= poll_state.told_since
    read_at = poll_state.told_at if poll_state.succeeded_at is None else poll_state.succeeded_at
    return not shows and read_at < poll_state.told_at + _EXPECTED_MS


def _age_of_activity(service: ServiceState) -> int | None:
    """For how long (ms) the newest deployment had gone on at the last good read; None: there is none."""
    deploying = service.row.status in DEPLOYING_STATUSES
    begun = [update.update_time for update in service.under_way]
    if deploying and service.row.transition_at is not None:
        begun.append(service.row.transition_at)
    if not begun:
        return 0 if deploying else None
    return 0 if service.read_at is None else service.read_at - max(begun)


def _active_interval(service: ServiceState, poll_state: PollState, intervals: PollIntervals) -> int | None:
    """The ms between two reads while something happens to the service; None if the sweep is enough."""
    active = intervals.active_interval
    if _is_unread(poll_state) or _has_just_changed(poll_state, intervals):
        return active
    if _is_update_expected(service, poll_state):
        return active
    age = _age_of_activity(service)
    if age is None:
        return None
    # In proportion to its age: the end is seen late by the same small part of it, however long it took.
    # With 10 s that is 1/180: 40 s after two hours, and the sweep's 5 min after 15 h.
    slower = active * age // _USUAL_UPDATE_MS
    if slower <= active:
        return active
    return slower if slower < intervals.sweep_interval else None


def _rank_before_first_try(service: ServiceState, intervals: PollIntervals) -> Rank:
    if service.read_at is not None:
        return (1, service.read_at)
    return (0, slot(service.row.service_id, intervals.sweep_interval))
