"""What all dashboards share: variables, annotations, links, tags, and that Grafana cannot edit them."""

from collections.abc import Sequence

from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import links, queries, states
from dashboards.source.layout import Row, placed
from dashboards.source.targets import DATASOURCE

# The data changes every 30 s at most; a graph of 30 days changes even less.
REFRESHES = ["1m", "5m", "15m", "1h"]

_ALL = ".+"
_EXPORTER = "label_values(modelarts_exporter_web_info, external_url)"


def dashboard(
    uid: str,
    title: str,
    about: str,
    rows: Sequence[Row],
    *,
    begin: str,
    refresh: str = "1m",
    one_service: bool = False,
) -> model.Dashboard:
    """A whole dashboard.

    Args:
        uid: never changes: alerts and bookmarks lead to it.
        title: behind "ModelArts / ".
        about: the question it answers.
        rows: of panels.
        begin: of the range at first.
        refresh: how often it asks again.
        one_service: it is about one service, not about several.

    """
    return model.Dashboard(
        uid=uid,
        title=f"ModelArts / {title}",
        description=about,
        tags=[links.TAG],
        timezone="browser",
        editable=False,
        graph_tooltip=model.DashboardCursorSync.CROSSHAIR,
        time=model.DashboardDashboardTime(from_val=begin, to="now"),
        timepicker=model.TimePickerConfig(refresh_intervals=REFRESHES),
        refresh=refresh,
        version=1,
        panels=list(placed(rows)),
        templating=model.DashboardDashboardTemplating(list_val=_variables(one_service=one_service)),
        annotations=model.AnnotationContainer(list_val=_annotations()),
        links=[links.dropdown()],
    )


def _variables(*, one_service: bool) -> list[model.VariableModel]:
    return [
        model.VariableModel(
            type_val=model.VariableType.DATASOURCE,
            name="datasource",
            label="Data source",
            description="The Prometheus that scrapes the exporter",
            query="prometheus",
            refresh=model.VariableRefresh.ON_DASHBOARD_LOAD,
        ),
        _choice(
            "project",
            "Project",
            "As the exporter's configuration names them",
            "label_values(modelarts_project_info, project)",
        ),
        _choice(
            "service",
            "Service",
            "Shown by name, known by id",
            f"query_result(modelarts_service_info{{{queries.PROJECT}}})",
            # Labels come sorted by name, so the id is before the name.
            regex='/service_id="(?<value>[^"]+)".*service_name="(?<text>[^"]*)"/',
            several=not one_service,
        ),
        # For links: where the exporter's own pages are.
        model.VariableModel(
            type_val=model.VariableType.QUERY,
            name="exporter",
            hide=model.VariableHide.HIDE_VARIABLE,
            datasource=DATASOURCE,
            query=_EXPORTER,
            definition=_EXPORTER,
            refresh=model.VariableRefresh.ON_DASHBOARD_LOAD,
        ),
    ]


def _choice(
    name: str, label: str, about: str, query: str, *, regex: str = "", several: bool = True
) -> model.VariableModel:
    return model.VariableModel(
        type_val=model.VariableType.QUERY,
        name=name,
        label=label,
        description=about,
        datasource=DATASOURCE,
        query=query,
        definition=query,
        regex=regex,
        multi=several,
        include_all=several,
        all_value=_ALL if several else None,
        current=model.VariableOption(selected=True, text=["All"], value=["$__all"]) if several else None,
        refresh=model.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC,
    )


def _annotations() -> list[model.AnnotationQuery]:
    failed = queries.service("service_last_failure_timestamp_seconds")
    succeeded = queries.service("service_last_success_timestamp_seconds")
    return [
        _at("Failed updates", failed, states.BROKEN, "Update failed"),
        _at("Successful updates", succeeded, states.WELL, "Update succeeded"),
        model.AnnotationQuery(
            name="Firing alerts",
            datasource=DATASOURCE,
            enable=True,
            icon_color=states.LOOK,
            expr=queries.FIRING,
            title_format="{{alertname}}",
            text_format="{{project}} {{service_name}}",
            tag_keys="severity",
            step="60s",
        ),
    ]


def _at(name: str, timestamps: str, colour: str, title: str) -> model.AnnotationQuery:
    """A mark at each time that is the value of a metric and within the range."""
    return model.AnnotationQuery(
        name=name,
        datasource=DATASOURCE,
        enable=True,
        icon_color=colour,
        expr=f"1000 * {timestamps} >= ${{__from}}",
        title_format=title,
        text_format="{{project}} {{service_name}}",
        step="60s",
        use_value_for_time=True,
    )
