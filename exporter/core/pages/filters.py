"""What a reader asks for by a query string; the pages and the JSON understand the same."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from exporter.core.pages.service_health import STATES

# The cloud's names have at most 64 characters, and nobody types more.
LONGEST_SEARCH = 256
# Ten thousand services are a hundred pages; a number of more digits than this is a mistake.
_LONGEST_NUMBER = 9

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


def parse_filter(query: str) -> ServiceFilter:
    """What a query string asks of the fleet; keys of others are left alone. Raises `BadQueryError`."""
    found = given(query, ("q", "state", "project", "page"))
    text, state, page = found["q"].strip(), found["state"], found["page"]
    if len(text) > LONGEST_SEARCH:
        raise BadQueryError(f"q has {len(text)} characters; at most {LONGEST_SEARCH} are searched for.")
    if state and state not in _STATES:
        raise BadQueryError(f'state is "{state}"; it must be one of {", ".join(_STATES)}.')
    # A superscript is a digit to some.
    is_number = page.isascii() and page.isdigit() and len(page) <= _LONGEST_NUMBER
    if page and not (is_number and int(page) > 0):
        raise BadQueryError(f'page is "{page}"; it must be a whole number of at least 1.')
    return ServiceFilter(text, state, found["project"], int(page or 1))


def parse_project(query: str) -> str:
    """Which project's service a query string means; "" for any. Raises `BadQueryError`."""
    return given(query, ("project",))["project"]


def given(query: str, keys: tuple[str, ...]) -> Mapping[str, str]:
    """The values of these keys in a query string, "" for none. Raises `BadQueryError` for two values."""
    found = dict.fromkeys(keys, "")
    for key, value in parse_qsl(query):
        if found.get(key):
            raise BadQueryError(f'{key} is "{found[key]}" and "{value}"; it can be given once.')
        if key in found:
            found[key] = value
    return found
