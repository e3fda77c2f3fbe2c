"""The position of each panel, in rows of 24 columns from the top, and its id."""

from collections.abc import Sequence

from grafana_foundation_sdk.models import dashboard as model

COLUMNS = 24


class Row:
    """Panels next to one another, under a heading; `collapsed` ones are loaded only when it is opened."""

    def __init__(self, title: str, *lines: Sequence[model.Panel], collapsed: bool = False) -> None:
        self.title, self.lines, self.collapsed = title, lines, collapsed


def placed(rows: Sequence[Row]) -> list[model.Panel | model.RowPanel]:
    """All panels and headings, each with its position and id."""
    found: list[model.Panel | model.RowPanel] = []
    top = 0
    for row in rows:
        heading = model.RowPanel(
            collapsed=row.collapsed, title=row.title, grid_pos=model.GridPos(h=1, w=COLUMNS, x=0, y=top)
        )
        top = bottom = top + 1
        for line in row.lines:
            bottom = _place(line, bottom)
        inside = [panel for line in row.lines for panel in line]
        heading.panels = inside if row.collapsed else []
        found.append(heading)
        if not row.collapsed:
            found += inside
            top = bottom
    _number(found)
    return found


def _place(line: Sequence[model.Panel], top: int) -> int:
    """Set the positions of the panels of one line; returns the top of the next line."""
    left = bottom = 0
    for panel in line:
        place = panel.grid_pos
        assert place is not None, "every constructor gives a size"
        place.x, place.y = left, top
        left += place.w
        bottom = max(bottom, top + place.h)
    assert left <= COLUMNS, f"{[panel.title for panel in line]} need {left} columns"
    return bottom


def _number(panels: Sequence[model.Panel | model.RowPanel]) -> None:
    """Set ids in order, from 1; the panels of a collapsed row follow it."""
    last = 0
    for panel in panels:
        inner = panel.panels or [] if isinstance(panel, model.RowPanel) else []
        for one in (panel, *inner):
            last += 1
            one.id_val = last
