"""Links from one dashboard to another that keep the variables and the time range."""

from grafana_foundation_sdk.models import dashboard as model

TAG = "modelarts"

OVERVIEW = "modelarts-overview"
SERVICE = "modelarts-service"
EDGE = "modelarts-edge"
DELIVERY = "modelarts-delivery"
EXPORTER = "modelarts-exporter"

# The variable `exporter` is the address that the exporter says is its own.
_RUNBOOKS = "${exporter:raw}/runbooks"

_KEPT = "${datasource:queryparam}&${__url_time_range}"


def to(uid: str, title: str) -> model.DashboardLink:
    """To another dashboard with the same choice of projects and services."""
    return _link(title, f"/d/{uid}?{_KEPT}&${{project:queryparam}}&${{service:queryparam}}")


def to_service_of_row(title: str = "Open the service") -> model.DashboardLink:
    """From a row of a table to its service."""
    return _to_service(title, "${__data.fields.project}", "${__data.fields.service_id}")


def to_service_of_series(title: str = "Open the service") -> model.DashboardLink:
    """From a series to its service."""
    return _to_service(title, "${__field.labels.project}", "${__field.labels.service_id}")


def dropdown() -> model.DashboardLink:
    """The menu of all dashboards with our tag."""
    return model.DashboardLink(
        title="ModelArts",
        type_val=model.DashboardLinkType.DASHBOARDS,
        icon="external link",
        tooltip="The other dashboards, for the same choice and time",
        tags=[TAG],
        as_dropdown=True,
        include_vars=True,
        keep_time=True,
    )


def to_runbook_of_row() -> model.DashboardLink:
    """From the row of an alert to its runbook on the exporter's own pages, as in the rules."""
    return _link("Open the runbook", f"{_RUNBOOKS}/${{__data.fields.alertname}}")


def to_causes() -> model.DashboardLink:
    """From a reason to the table of remedies, which the runbook of a failed update has."""
    return _link("What to do about it", f"{_RUNBOOKS}/ModelArtsUpdateFailed#mitigation")


def _to_service(title: str, project: str, service_id: str) -> model.DashboardLink:
    return _link(title, f"/d/{SERVICE}?{_KEPT}&var-project={project}&var-service={service_id}")


def _link(title: str, url: str) -> model.DashboardLink:
    return model.DashboardLink(
        title=title, type_val=model.DashboardLinkType.LINK, icon="", tooltip="", url=url, tags=[]
    )
