"""What a config file may say, and what is probably a mistake all the same."""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from exporter.config.schema import Config, Project

# API reference of ModelArts, "Obtaining a Project ID and Name".
_PROJECT_ID = re.compile(r"[0-9a-f]{32}")


def warnings(config: Config) -> list[str]:
    """A sentence for each, which names the key, the value and the remedy."""
    return [
        f"projects[{number}].{sentence}"
        for number, project in enumerate(config.projects)
        for sentence in _of_project(project)
    ]


def _of_project(project: Project) -> Iterator[str]:
    if not _PROJECT_ID.fullmatch(project.project_id):
        yield (
            f"project_id: {project.project_id!r} is not 32 hexadecimal digits; if it is the project's name,"
            " take its id from the console's page My Credentials"
        )
    urls = {"endpoint": project.endpoint}
    if project.auth.password is not None:
        urls["auth.password.iam_endpoint"] = project.auth.password.iam_endpoint
    for key, url in urls.items():
        if urlsplit(url).scheme == "http" and not _is_loopback(urlsplit(url).hostname or ""):
            yield f"{key}: {url!r} sends the credential without encryption; use https://"
    if project.tls.insecure_skip_verify:
        yield "tls.insecure_skip_verify: true lets anybody in between read the credential; use tls.ca_file"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
