"""The whole fleet on a page: the services that match a filter, worst first, a hundred at a time."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import NamedTuple, Protocol

from exporter.core.accounting.labels import ServiceView
from exporter.core.pages.filters import Selection, ServiceFilter
from exporter.core.pages.service_health import (
    STATES,
    ServiceHealth,
    State,
    health_of,
    is_old,
    since_of,
    state_of,
)
from exporter.core.polling.progress import Progress

# As the alert ModelArtsServiceDataStale: one sweep that was missed is nothing yet.
_OLD_SWEEPS = 3
_AS_SHOWN = Selection()

Services = Mapping[tuple[str, str], ServiceView]  # by project and service_id


class ProjectStatus(Protocol):
    """What the overview needs of a project; `up` is None and `listed_at` (ms) too before its first list."""

    @property
    def name(self) -> str:
        """As configured."""

    @property
    def project_id(self) -> str:
        """As the cloud has it."""

    @property
    def up(self) -> bool | None:
        """Whether the last list succeeded."""

    @property
    def error(self) -> str:
        """One sentence; "" without one."""

    @property
    def services(self) -> int:
        """How many are watched."""

    @property
    def listed_at(self) -> int | None:
        """The last complete list."""

    @property
    def sweep_ms(self) -> int:
        """How long it takes now to read every service once; 0 if that is not known yet."""

    @property
    def first_reads(self) -> Progress | None:
        """How far the first reads of its services are; None if that is not known yet."""


class Project(NamedTuple):
    """A project on the page; `states` counts its services by the name of their state."""

    name: str
    up: bool | None
    error: str
    services: int
    listed_at: int | None
    states: Mapping[str, int]
    first_reads: Progress | None = None  # None if there are none to wait for

    @property
    def urgent(self) -> int:
        """Services that somebody should look at."""
        return sum(self.states.get(state.name, 0) for state in STATES if state.urgent)


class Overview(NamedTuple):
    """A page; everything on it is worst first.

    `states` counts what the search and the project leave, `total` is everything there is. `old` counts
    services of all projects that can be listed, and of which the data is old nevertheless.
    """

    filter: ServiceFilter
    projects: tuple[Project, ...]
    states: tuple[tuple[State, int], ...]
    total: int
    old: int
    matches: int
    pages: int
    per_page: int
    first: int  # number of the first row, counted from 1; 0 without one
    rows: tuple[ServiceHealth, ...]

    @property
    def urgent(self) -> int:
        """Services of all projects that somebody should look at."""
        return sum(project.urgent for project in self.projects)

    @property
    def unread(self) -> int:
        """Services of all projects of which nothing but their line in the list is known."""
        return sum(project.states.get("new", 0) for project in self.projects)

    @property
    def project_names(self) -> Sequence[str]:
        """Those to choose from; one that was service_filter for and is gone stays selected."""
        return sorted({project.name for project in self.projects} | {self.filter.project} - {""})


def overview(
    services: Services,
    projects: Iterable[ProjectStatus],
    service_filter: ServiceFilter,
    now: int,
    selection: Selection = _AS_SHOWN,
) -> Overview:
    """The page that was asked for, at `now` (ms); past the last page it is the last."""
    needle = service_filter.text.casefold()
    by_state: dict[str, list[ServiceView]] = {state.name: [] for state in STATES}
    by_project: dict[str, Counter[str]] = {}
    known = {project.name: project for project in projects}
    limits = {name: old_before(project, now) for name, project in known.items()}
    old = 0
    for (name, service_id), view in services.items():
        state = state_of(view.state, now)
        by_project.setdefault(name, Counter())[state] += 1
        old += limits.get(name, now) < now and is_old(view.state, limits[name])
        if service_filter.project not in ("", name):
            continue
        if needle and not (
            needle in service_id.casefold() or needle in view.state.row.service_name.casefold()
        ):
            continue
        by_state[state].append(view)
    states = {service_filter.state, *selection.states} - {""} or by_state.keys()
    selected = [(state, by_state[state.name]) for state in STATES if state.name in states]
    matches = sum(len(views) for _, views in selected)
    pages = max(-(-matches // selection.per_page), 1)
    page = min(service_filter.page, pages)
    begin = (page - 1) * selection.per_page
    end = begin + selection.per_page
    return Overview(
        filter=service_filter._replace(page=page),
        projects=tuple(
            sorted(
                (_project(each, by_project.get(name, {})) for name, each in known.items()), key=_worst_first
            )
        ),
        states=tuple((state, len(by_state[state.name])) for state in STATES),
        total=len(services),
        old=old,
        matches=matches,
        pages=pages,
        per_page=selection.per_page,
        first=begin + 1 if matches else 0,
        rows=tuple(
            health_of(view, now, limits.get(view.project, 0))
            for view in _rows(selected, selection.sort, begin, end)
        ),
    )


def old_before(project: ProjectStatus | None, now: int) -> int:
    """What was read of a project before this instant (ms) is old; everything is if it cannot be listed."""
    if project is not None and project.up is False:
        return now + 1
    return now - _OLD_SWEEPS * project.sweep_ms if project is not None and project.sweep_ms else 0


def find_service(
    services: Services, service_id: str, project: str
) -> tuple[ServiceView | None, tuple[str, ...]]:
    """The service of this id, and the other projects that have one too; the first unless one is named."""
    matching = {name: view for (name, each), view in services.items() if each == service_id}
    view = matching.get(project) if project else next(iter(matching.values()), None)
    return view, tuple(name for name in matching if view is not None and name != view.project)


def _project(project: ProjectStatus, states: Mapping[str, int]) -> Project:
    return Project(
        project.name,
        project.up,
        project.error,
        project.services,
        project.listed_at,
        dict(states),
        unfinished(project),
    )


def unfinished(project: ProjectStatus) -> Progress | None:
    """How far the first reads of a project's services are; None if there are none to wait for."""
    first_reads = project.first_reads
    return None if first_reads is None or first_reads.finished else first_reads


def _worst_first(project: Project) -> tuple[int, int, str]:
    return (0 if project.up is False else 1 if project.up is None else 2, -project.urgent, project.name)


def _rows(
    selected: Sequence[tuple[State, list[ServiceView]]], sort: str, begin: int, end: int
) -> Iterable[ServiceView]:
    """The rows from `begin` to `end` of all in this order."""
    key, reverse = sort.removeprefix("-"), sort.startswith("-")
    if key == "state" and not reverse:
        return _slice(selected, begin, end)
    views = [(state.name, view) for state, of_state in selected for view in of_state]
    views.sort(key=lambda each: _by_name(each[1]))
    if key in _BY_TIME:
        instant = _BY_TIME[key]
        # What is not known comes last, whichever comes first.
        sign = 1 if reverse else -1
        views.sort(key=lambda each: inf if (at := instant(*each)) is None else sign * at)
    elif key == "state":
        rank = {state.name: number for number, state in enumerate(STATES)}
        views.sort(key=lambda each: -rank[each[0]])
    else:
        if key == "project":
            views.sort(key=lambda each: each[1].project)
        if reverse:
            views.reverse()
    return (view for _, view in views[begin:end])


_BY_TIME: Mapping[str, Callable[[str, ServiceView], int | None]] = {
    "since": lambda state, view: since_of(view.state, state),
    "newest_update_time": lambda _, view: view.state.newest.update_time if view.state.newest else None,
    "read_time": lambda _, view: view.state.read_at,
}


def _slice(
    selected: Sequence[tuple[State, list[ServiceView]]], begin: int, end: int
) -> Iterable[ServiceView]:
    """The rows from `begin` to `end` of all in order; what is outside is not sorted."""
    for state, views in selected:
        if views and begin < len(views) and end > 0:
            ordered = sorted(views, key=partial(_newest_first, state) if state.urgent else _by_name)
            yield from ordered[max(begin, 0) : end]
        begin -= len(views)
        end -= len(views)


def _by_name(view: ServiceView) -> tuple[str, str, str]:
    row = view.state.row
    return (row.service_name.casefold(), view.project, row.service_id)


def _newest_first(state: State, view: ServiceView) -> tuple[int, tuple[str, str, str]]:
    return (-(since_of(view.state, state.name) or 0), _by_name(view))
