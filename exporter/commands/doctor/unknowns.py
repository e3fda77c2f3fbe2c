"""What answers tell of a cloud that the public documents leave open: one function for each check. Pure.

Each takes what was asked and answered, and returns a `Verdict`.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

from exporter.commands.doctor.finding import Verdict, failed, ok, skipped, warning
from exporter.commands.doctor.remedies import CLOCK, OTHER_API, REPORT
from exporter.core.records import Event

SIZE = 2
"""Rows of the page by which `offset` is tried; the offset is the same, since some APIs want a multiple."""
REFERENCE_SIZE = 3 * SIZE
"""Rows of the page that this one is compared with: enough for both meanings of `offset`."""

# The gateway refuses a signature that is dated 15 minutes off its own clock (huaweicloud-sdk-java-v3, #44).
_SKEW_FAILS_SECONDS = 15 * 60
_SKEW_WARNS_SECONDS = 60

_DAY_MS = 86_400_000
# "One month" (ModelArts, User Guide, "Viewing Service Details"), and a day more for what is cleared daily.
_DOCUMENTED_DAYS = 32

_CHINESE = re.compile("[\u3400-\u9fff]")


def clock(skew_seconds: float) -> Verdict:
    """`skew_seconds`: how far the cloud's clock is ahead of ours; its header names whole seconds."""
    off = abs(round(skew_seconds))
    if off < _SKEW_WARNS_SECONDS:
        return ok(f"The cloud's clock and this machine's differ by {off} s.")
    found = f"This machine's clock is {off} s {'behind' if skew_seconds > 0 else 'ahead of'} the cloud's."
    if off < _SKEW_FAILS_SECONDS:
        return warning(found, CLOCK)
    return failed(f"{found} From 15 minutes on the cloud refuses signatures.", CLOCK)


class Offset(StrEnum):
    """What `offset` does."""

    PAGES = "counts pages"
    ITEMS = "counts items"
    NOTHING = "is ignored"
    OTHER = "counts neither pages nor items"


def offset_of(reference: Sequence[Any], page: Sequence[Any]) -> Offset | None:
    """What an offset of `SIZE` did to a page of `SIZE` rows; None: there are too few rows to tell.

    `reference`: the first `REFERENCE_SIZE` rows, or as many as there are.
    """
    readings = {
        Offset.ITEMS: reference[SIZE : 2 * SIZE],
        Offset.PAGES: reference[2 * SIZE : 3 * SIZE],
        Offset.NOTHING: reference[:SIZE],
    }
    fitting = [reading for reading, rows in readings.items() if list(rows) == list(page)]
    if len(reference) <= SIZE or len(fitting) > 1:
        return None
    return fitting[0] if fitting else Offset.OTHER


def paging(services: Offset | None, events: Offset | None) -> Verdict:
    """What `offset` does in the list and in the event log; None: not known."""
    told = {"the list": services, "the events": events}
    known = {where: offset for where, offset in told.items() if offset is not None}
    if not known:
        return skipped(f"There are no more than {SIZE} services and {SIZE} events to page through.")
    found = _by_place({where: f"`offset` {offset}" for where, offset in known.items()})
    if {Offset.NOTHING, Offset.OTHER} & set(known.values()):
        return warning(f"{found} So a large list cannot be read.", REPORT)
    return ok(found)


def order(updates: Sequence[int], events: Sequence[int]) -> Verdict:
    """Of the update log, and of events where no order is asked for; the times (ms) as they came."""
    told = {"The update log": _order_of(updates), "The events, if no order is asked for": _order_of(events)}
    parts = [f"{where}: {order}." for where, order in told.items() if order]
    return ok(" ".join(parts)) if parts else skipped("No log has two entries of different times.")


def _order_of(times: Sequence[int]) -> str:
    if len(set(times)) < 2:
        return ""
    if all(early <= late for early, late in pairwise(times)):
        return "oldest first"
    if all(early >= late for early, late in pairwise(times)):
        return "newest first"
    return "in no order"


class Largest(NamedTuple):
    """The largest page: the `limit` that was taken, the next one, how many rows came, and of how many."""

    limit: int
    refused: int | None
    rows: int
    total: int | None


def limit(services: Largest | None, events: Largest | None) -> Verdict:
    """The largest page of the list and of the event log; None: it could not be read."""
    told = {"the list": services, "the events": events}
    pages = {where: _largest(page) for where, page in told.items() if page is not None}
    if not pages:
        return skipped("Neither the list nor the events can be read.")
    return ok(_by_place(pages))


def _largest(page: Largest) -> str:
    if page.total is not None and page.rows < min(page.total, page.limit):
        return f"a `limit` of {page.limit} is cut to {page.rows} rows"
    if page.refused is not None:
        return f"the largest `limit` is {page.limit} ({page.refused} is refused)"
    return f"a `limit` of {page.limit}, the largest that is tried, is taken"


def bounds(*, control: bool, start: bool, end: bool, far_end: bool) -> Verdict:
    """Whether an event at the very bound was shown.

    Args:
        control: with bounds around it.
        start: with a start_time that is its own.
        end: with an end_time that is its own.
        far_end: an end in the year 2286 was taken.

    """
    if not control:
        return warning(
            "A window around an event does not show it: start_time and end_time do not filter.", REPORT
        )
    inclusive = {True: "inclusive", False: "exclusive"}
    found = f"start_time is {inclusive[start]} and end_time is {inclusive[end]}."
    return ok(found if far_end else f"{found} An end_time far ahead is refused.")


def retention(now: int, events: Collection[int], oldest_update: int | None) -> Verdict:
    """How far the logs go back.

    Args:
        now: ms.
        events: of each service that was asked, the time of its oldest event (ms).
        oldest_update: of the update log that was read (ms).

    """
    if not events and oldest_update is None:
        return skipped("No log has an entry.")
    parts = []
    if events:
        days = (now - min(events)) // _DAY_MS
        longer = ", longer than the documented month" if days >= _DOCUMENTED_DAYS else ""
        parts.append(f"the oldest event of {_count(len(events), 'service')} is {_old(days)}{longer}")
    if oldest_update is not None:
        parts.append(f"the oldest update of one service is {_old((now - oldest_update) // _DAY_MS)}")
    return ok(_sentence(" and ".join(parts)))


def language(english: Sequence[Event], chinese: Sequence[Event]) -> Verdict:
    """A few events as they came when English was asked for, and when Chinese was."""
    if not any(event.event_info for event in english):
        return skipped("There are no events with a text.")
    spoken = "Chinese" if any(_CHINESE.search(event.event_info) for event in english) else "English"
    ours, theirs = _texts(english), _texts(chinese)
    # Between the two requests there may be a new event, which is in one of them alone.
    if any(ours[at] != theirs[at] for at in ours.keys() & theirs.keys()):
        return ok(f"The event texts are {spoken} where English is asked for; X-Language changes them.")
    return ok(f"The event texts are {spoken}; X-Language changes nothing.")


def _texts(events: Sequence[Event]) -> dict[int, list[str]]:
    texts: defaultdict[int, list[str]] = defaultdict(list)
    for event in sorted(events):
        texts[event.occur_time].append(event.event_info)
    return texts


def other_api(total: int, unseen: int, *, exact: bool) -> Verdict:
    """Version 2 answers: how many services it has, and how many of them version 1 does not show."""
    if total == 0:
        return ok("Version 2 of the API answers too, and has no service.")
    if unseen == 0:
        return ok(
            f"Version 2 of the API answers too; this exporter sees all of its {_count(total, 'service')}."
        )
    some = f"{'' if exact else 'about '}{_count(unseen, 'service')}"
    return warning(
        f"Version 2 of the API answers and has {some} that this exporter cannot see: it reads version 1.",
        OTHER_API,
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _old(days: int) -> str:
    return "less than a day old" if days < 1 else f"{_count(days, 'day')} old"


def _by_place(said: Mapping[str, str]) -> str:
    """What is said of each place, once where it is the same of all."""
    parts = [f"in {where} {what}" for where, what in said.items()]
    if len(said) > 1 and len(set(said.values())) == 1:
        parts = [f"in {' and '.join(said)} {next(iter(said.values()))}"]
    return _sentence("; ".join(parts))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
