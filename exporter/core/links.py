"""Where alerts and pages lead to, apart from the pages themselves."""

from typing import NamedTuple
from urllib.parse import quote

# The exporter's own pages of the runbooks, below its external URL.
RUNBOOKS_PATH = "/runbooks"
# The uid of the dashboard of one service, in dashboards/.
_GRAFANA_PATH = "/d/modelarts-service"


class LinkOptions(NamedTuple):
    """Where links lead, without a slash at the end; "": to nowhere, but for runbooks: to our own pages.

    `console_url` has `{project_id}` and `{service_id}` where these belong.
    """

    external_url: str
    runbooks_url: str = ""
    grafana_url: str = ""
    console_url: str = ""
    prometheus_url: str = ""


class ServiceLinks(NamedTuple):
    """The addresses of what others show of a service; "" where none is configured."""

    grafana: str = ""
    console: str = ""
    prometheus: str = ""


def links_of(options: LinkOptions, project: str, project_id: str, service_id: str) -> ServiceLinks:
    """The links of the service with this id, in the project with this name and id."""
    name, number, service = (
        quote(part, safe="", errors="replace") for part in (project, project_id, service_id)
    )
    grafana, prometheus = options.grafana_url, options.prometheus_url
    labels = ",".join(
        f'{key}="{_escaped(text)}"' for key, text in (("project", project), ("service_id", service_id))
    )
    query = quote(f"modelarts_service_update_failing{{{labels}}}", safe="", errors="replace")
    return ServiceLinks(
        f"{grafana}{_GRAFANA_PATH}?var-project={name}&var-service={service}" if grafana else "",
        options.console_url.replace("{project_id}", number).replace("{service_id}", service),
        f"{prometheus}/graph?g0.expr={query}&g0.tab=0&g0.range_input=1d" if prometheus else "",
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
