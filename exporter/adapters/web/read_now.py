"""`POST /-/poll`: a pipeline that has started a deployment has it read at once."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from exporter.adapters.web.message import Request, Response, text_response
from exporter.adapters.web.snapshot import Snapshot
from exporter.core.pages.filters import BadQueryError
from exporter.core.scrub import scrub
from exporter.core.service_lookup import Candidate, ambiguous, called

Tell = Callable[[str, str | None], None]


class ReadNow(NamedTuple):
    """Answers from what is known, and leaves a message for the poll loop.

    `tell` takes a project, and a service_id or None for the list; it returns at once; None: not allowed.
    `elsewhere` is a sentence on where a service may be that is not known here, "" for nowhere.
    """

    snapshot: Callable[[], Snapshot[Any]]
    tell: Tell | None
    elsewhere: Callable[[str], str]

    def answer(self, request: Request) -> Response:
        """202 once the message is left."""
        if self.tell is None:
            return text_response(HTTPStatus.FORBIDDEN, "not enabled, see --web.enable-lifecycle")
        try:
            sentence = self._leave(self.tell, *_parsed(request.query))
        except BadQueryError as error:
            return text_response(HTTPStatus.BAD_REQUEST, str(error))
        except LookupError as error:
            return text_response(HTTPStatus.NOT_FOUND, str(error))
        return text_response(HTTPStatus.ACCEPTED, sentence)

    def _leave(self, tell: Tell, project: str, wanted: str) -> str:
        """Leave the message; returns what happens now. Raises `BadQueryError`, `LookupError`."""
        snapshot = self.snapshot()
        projects = [each.name for each in snapshot.projects if project in ("", each.name)]
        if not projects:
            raise LookupError(f"There is no project {scrub(project)}.")
        candidates = (
            Candidate(name, view.state.row)
            for (name, service_id), view in snapshot.services.items()
            if name in projects and wanted in (service_id, view.state.row.service_name)
        )
        found = called(candidates, wanted) if wanted else []
        if len(found) > 1:
            raise BadQueryError(f"{ambiguous(wanted, found)} Give the id, and the project.")
        if found:
            tell(found[0].project, found[0].row.service_id)
            name = scrub(found[0].row.service_name)
            return f"{name} ({found[0]}) is read now, and often until its deployment is over."
        for name in projects:
            tell(name, None)
        if not wanted:
            return f"The services of {', '.join(projects)} are listed now."
        where = self.elsewhere(wanted) or "If it is new, ask again: the list is being read now."
        raise LookupError(f"There is no service {scrub(wanted)} in {', '.join(projects)}. {where}")


def _parsed(query: str) -> tuple[str, str]:
    """The project and the service that are meant; "" where none is given. Raises `BadQueryError`."""
    given = parse_qs(query, keep_blank_values=True)
    for key, values in given.items():
        if key not in ("project", "service"):
            raise BadQueryError(f"{scrub(key)} is not known; there are project and service.")
        # A variable of a pipeline that is not set must not be taken for all of a project.
        if len(values) != 1 or not values[0]:
            raise BadQueryError(f"{key} must be given once, and not be empty.")
    return given.get("project", [""])[0], given.get("service", [""])[0]
