"""A project without discovery: the services that the configuration names stand in for the list."""

from collections.abc import Sequence

from exporter.core.records import EventWindow, ServiceList, ServiceRow, UpdateWindow
from exporter.core.source import Gone, Refused, RemoteError, Source, Stopping, Throttled, Unreachable

# These are the project's trouble, not the service's: to ask for the others would only make it worse.
_OF_THE_PROJECT = (Refused, Throttled, Stopping, Unreachable)


class StaticServices:
    """A `Source` whose list is made of the details of `service_ids`."""

    def __init__(self, source: Source, service_ids: Sequence[str]) -> None:
        self._source = source
        self._service_ids = service_ids

    def list_services(self) -> ServiceList:
        """The services that exist; incomplete where one could not be read. Raises what stops the project."""
        rows: list[ServiceRow] = []
        failed: RemoteError | None = None
        for service_id in self._service_ids:
            try:
                rows.append(self._source.read_detail(service_id))
            except Gone:
                continue
            except _OF_THE_PROJECT:
                raise
            except RemoteError as error:
                failed = error
        if failed is not None and not rows:
            raise failed
        return ServiceList(tuple(rows), complete=failed is None, error=str(failed or ""))

    def read_detail(self, service_id: str) -> ServiceRow:
        """See `Source`."""
        return self._source.read_detail(service_id)

    def read_updates(self, service_id: str, instant: int | None = None) -> UpdateWindow:
        """See `Source`."""
        return self._source.read_updates(service_id, instant)

    def read_events(self, service_id: str, after: int | None = None, *, spare: bool = False) -> EventWindow:
        """See `Source`."""
        return self._source.read_events(service_id, after, spare=spare)
