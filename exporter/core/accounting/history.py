"""The last events and updates of a service, as pages show them: bounded, and scrubbed of secrets."""

from collections.abc import Iterable

import msgspec

from exporter.core.records import Update
from exporter.core.scrub import scrub

# Some twenty deployments with their nine events each.
EVENTS_KEPT = 200
UPDATES_KEPT = 50
# A sentence with a stack trace's first lines; all of it stands in the cloud's console.
LONGEST_TEXT = 500


class PastEvent(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True, order=True
):
    """An event; `reason` is "" where it tells of no failure, `phase` and `mark` as the classifier says."""

    occur_time: int
    event_type: str
    text: str
    times: int = 1
    reason: str = ""
    phase: str = ""
    mark: str = ""


class PastUpdate(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A settled update, and when it settled as near as is known (ms)."""

    update: Update
    settled_at: int | None = None


class History(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """Oldest first, the newest last."""

    events: tuple[PastEvent, ...] = ()
    updates: tuple[PastUpdate, ...] = ()


def past_text(text: str) -> str:
    """An event's text as it is kept."""
    return scrub(text, LONGEST_TEXT)


def extended(history: History, events: Iterable[PastEvent], updates: Iterable[PastUpdate]) -> History:
    """The history with what was counted now."""
    seen = sorted((*history.events, *events), key=lambda event: event.occur_time)
    settled = sorted((*history.updates, *updates), key=lambda past: past.update.update_time)
    return History(tuple(seen[-EVENTS_KEPT:]), tuple(settled[-UPDATES_KEPT:]))
