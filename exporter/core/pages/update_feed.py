"""The settled updates of all services, newest first: what may be asked of them, and where a page ends.

The order is that of update_time; for equal times it is one that the store keeps. So every update has one
place, which never changes. A cursor is such a place as text: whoever goes on from it sees nothing twice,
however many new updates come in meanwhile.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

import msgspec

from exporter.core.accounting.history import PastUpdate
from exporter.core.formats import parse_instant
from exporter.core.pages.filters import PAGE_ROWS, BadQueryError, given, row_count
from exporter.core.records import SETTLED_RESULTS

# Of a service's updates of one time. An honest number is far below, and the store takes no larger one.
_LARGEST = 2**63


class UpdatePlace(NamedTuple):
    """The place of an update; `number` counts those of one service and time (ms)."""

    update_time: int
    project: str
    service_id: str
    number: int

    def cursor(self) -> str:
        """As opaque text that is safe in a URL."""
        return urlsafe_b64encode(msgspec.json.encode(self)).rstrip(b"=").decode()


class UpdateQuery(NamedTuple):
    """Which updates are asked for; "" and None leave nothing out.

    `service` is an id or a name. `since` is in ms. `before` leaves out itself and what is newer.
    """

    project: str = ""
    service: str = ""
    result: str = ""
    since: int | None = None
    before: UpdatePlace | None = None
    per_page: int = PAGE_ROWS


class FoundUpdate(NamedTuple):
    """A settled update and its place."""

    place: UpdatePlace
    past: PastUpdate


class FoundUpdates(NamedTuple):
    """A page of updates, newest first, and where the next page begins; None: there are no more."""

    updates: tuple[FoundUpdate, ...]
    rest: UpdatePlace | None


def parse_updates_query(query: str) -> UpdateQuery:
    """What a query string asks for. Raises `BadQueryError`."""
    found = given(query, ("project", "service", "result", "since", "cursor", "per_page"))
    result = found["result"]
    if result and result not in SETTLED_RESULTS:
        raise BadQueryError(f'result is "{result}"; it must be one of {", ".join(SETTLED_RESULTS)}.')
    return UpdateQuery(
        found["project"],
        found["service"],
        result,
        _instant(found["since"]),
        _place(found["cursor"]),
        row_count(found["per_page"]),
    )


def _instant(text: str) -> int | None:
    if not text:
        return None
    try:
        instant = parse_instant(text)
    except ValueError:  # a 31st of February
        instant = None
    if instant is None:
        raise BadQueryError(
            f'since is "{text}"; it must be a time such as 2026-01-31T12:00:00Z, or seconds since the epoch.'
        )
    return instant


def _place(cursor: str) -> UpdatePlace | None:
    if not cursor:
        return None
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        place = msgspec.json.decode(raw, type=UpdatePlace)
        # Base64 and JSON have many forms of one value; ours is one.
        is_ours = place.cursor() == cursor and all(abs(part) < _LARGEST for part in (place[0], place[3]))
    except (ValueError, msgspec.MsgspecError):
        is_ours = False
    if not is_ours:
        raise BadQueryError("cursor is none that this exporter gave; ask without it for the first page.")
    return place
