"""What a reader asks for by a query string; the pages and the JSON understand the same."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from exporter.core.pages.service_health import STATES

# The cloud's names have at most 64 characters, and nobody types more.
LONGEST_SEARCH = 256
# What a person scrolls through; ten thousand rows would be megabytes.
PAGE_ROWS = 100
# What a program may ask for at once: some 300 kB, and a tenth of a second of the poll loop's time.
MOST_ROWS = 500
# Ten thousand services are a hundred pages; a number of more digits than this is a mistake.
_LONGEST_NUMBER = 9

# What services can be sorted by, with what comes first: the worst, the letter a, the newest.
SORTS = ("state", "service_name", "project", "since", "newest_update_time", "read_time")

_STATES = tuple(state.name for state in STATES)


class BadQueryError(ValueError):
    """A value that cannot be meant; the sentence names it, its key and the rule."""


class ServiceFilter(NamedTuple):
    """What a reader asks for; "" is everything."""

    text: str = ""
    state: str = ""
    project: str = ""
    page: int = 1

    def query(self) -> str:
        """As a query string that `parse_filter` understands; "" for everything."""
        pairs = [("q", self.text), ("state", self.state), ("project", self.project)]
        pages = [("page", str(self.page))] if self.page > 1 else []
        return urlencode([pair for pair in pairs if pair[1]] + pages, quote_via=quote, errors="replace")


class Selection(NamedTuple):
    """What only programs ask for; the default is what the page shows.

    `states`: services in one of these, none for all of them. `sort`: one of `SORTS`; "-" before it reverses.
    """

    states: tuple[str, ...] = ()
    sort: str = "state"
    per_page: int = PAGE_ROWS


def parse_filter(query: str) -> ServiceFilter:
    """What a query string asks of the fleet; keys of others are left alone. Raises `BadQueryError`."""
    found = given(query, ("q", "state", "project", "page"))
    return _filter(found, _state(found["state"]))


def parse_selection(query: str) -> tuple[ServiceFilter, Selection]:
    """What a program asks of the fleet: as `parse_filter`, and more. Raises `BadQueryError`."""
    found = given(query, ("q", "project", "page", "per_page", "sort"))
    states = tuple(_state(value) for key, value in parse_qsl(query) if key == "state")
    sort = found["sort"] or SORTS[0]
    if sort.removeprefix("-") not in SORTS:
        raise BadQueryError(
            f'sort is "{sort}"; it must be one of {", ".join(SORTS)}, with a "-" before it for the reverse.'
        )
    return _filter(found, ""), Selection(states, sort, row_count(found["per_page"]))


def _filter(found: Mapping[str, str], state: str) -> ServiceFilter:
    text, page = found["q"].strip(), found["page"]
    if len(text) > LONGEST_SEARCH:
        raise BadQueryError(f"q has {len(text)} characters; at most {LONGEST_SEARCH} are searched for.")
    number = _number(page, 1)
    if number < 1:
        raise BadQueryError(f'page is "{page}"; it must be a whole number of at least 1.')
    return ServiceFilter(text, state, found["project"], number)


def _state(state: str) -> str:
    if state and state not in _STATES:
        raise BadQueryError(f'state is "{state}"; it must be one of {", ".join(_STATES)}.')
    return state


def row_count(text: str) -> int:
    """How many rows a page is to have; "" is what is usual. Raises `BadQueryError`."""
    number = _number(text, PAGE_ROWS)
    if not 1 <= number <= MOST_ROWS:
        raise BadQueryError(f'per_page is "{text}"; it must be a whole number from 1 to {MOST_ROWS}.')
    return number


def _number(text: str, otherwise: int) -> int:
    """A whole number, `otherwise` for "", and 0 for what is none."""
    if not text:
        return otherwise
    # A superscript is a digit to some.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else 0


def parse_project(query: str) -> str:
    """Which project's service a query string means; "" for any. Raises `BadQueryError`."""
    return given(query, ("project",))["project"]


def given(query: str, keys: tuple[str, ...]) -> Mapping[str, str]:
    """The values of these keys, "" for what is missing. Raises `BadQueryError` for one given twice."""
    found = dict.fromkeys(keys, "")
    for key, value in parse_qsl(query):
        if found.get(key):
            raise BadQueryError(f'{key} is "{found[key]}" and "{value}"; it can be given once.')
        if key in found:
            found[key] = value
    return found
