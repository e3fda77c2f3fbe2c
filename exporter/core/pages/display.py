"""How a reader wants a page to be shown, by a query string."""

from typing import NamedTuple
from urllib.parse import urlencode

from exporter.core.pages.filters import BadQueryError, given

# Data is read every 10 s where it changes; a page that renews itself faster shows the same again.
SHORTEST_REFRESH, LONGEST_REFRESH = 5, 3600
# As often as the list of services is read. A monitor on a wall has nobody who asks for more.
USUAL_REFRESH = 30


class Display(NamedTuple):
    """`refresh`: seconds until the page is asked for again, 0: never. `wall`: for a monitor on the wall."""

    refresh: int = 0
    wall: bool = False

    def query(self) -> str:
        """As a query string that `parse_display` understands; "" for the usual."""
        pairs = [("view", "wall")] if self.wall else []
        return urlencode(pairs + ([("refresh", str(self.refresh))] if self.refresh else []))


def parse_display(query: str) -> Display:
    """What a query string says of it; keys of others are left alone. Raises `BadQueryError`."""
    found = given(query, ("refresh", "view"))
    refresh, view = found["refresh"], found["view"]
    if view not in ("", "wall"):
        raise BadQueryError(f'view is "{view}"; it must be wall.')
    seconds = int(refresh) if refresh.isascii() and refresh.isdigit() and len(refresh) <= 4 else 0
    if refresh and not SHORTEST_REFRESH <= seconds <= LONGEST_REFRESH:
        raise BadQueryError(
            f'refresh is "{refresh}"; it must be a whole number of seconds from {SHORTEST_REFRESH} to '
            f"{LONGEST_REFRESH}."
        )
    return Display(seconds or (USUAL_REFRESH if view else 0), bool(view))
