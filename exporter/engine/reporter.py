"""What operators are told: a line in the log for what they look for at night, and a count in the metrics."""

from structlog.typing import FilteringBoundLogger

from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.store.errors import StoreError
from exporter.core.accounting.service_state import Outcome, ServiceState
from exporter.core.formats import iso
from exporter.core.records import ABNORMAL, FAIL, ServiceList
from exporter.core.scrub import scrub
from exporter.core.source import Gone, RemoteError, Torn
from exporter.engine.fetch import PollResult

# An event's text is what the shipped log is searched for; this holds the longest known one twice over.
_LONGEST_TEXT = 1000


class Reporter:
    """Tells what happened to projects and services; a state that lasts is logged once, when it begins."""

    def __init__(self, log: FilteringBoundLogger, metrics: SelfMetrics) -> None:
        self._log, self._metrics = log, metrics
        self._store_error = ""

    def list_failed(self, project: str, error: RemoteError, before: str) -> None:
        """The list failed; `before` is the error of the list before, "" for none."""
        self._count_torn(project, error)
        if str(error) != before:
            self._log.error("cannot list services", project=project, error=str(error))

    def listed(self, project: str, services: ServiceList, before: str) -> None:
        """The list came."""
        for _ in range(services.malformed):
            self._metrics.unknown(project, "services")
        if not services.complete:
            self._metrics.torn(project)
        if services.malformed:
            self._log.warning(
                "rows of the list are malformed and left out", project=project, rows=services.malformed
            )
        if not services.complete:
            self._log.warning("the list is torn; nothing is concluded from what it lacks", project=project)
        elif before:
            self._log.info("services are listed again", project=project, services=len(services.rows))
        else:
            self._log.debug("services listed", project=project, services=len(services.rows))

    def was_read(self, project: str, result: PollResult, before: ServiceState | None) -> None:
        """A job is done; `before` is what was known of the service until then."""
        about = {"project": project, "service_id": scrub(result.job.service_id)}
        for part in (result.updates, result.events):
            self._count_torn(project, part)
        error = result.error
        if isinstance(error, Gone):
            self._log.info("service is deleted", **about)
        elif error is not None:
            level = self._log.debug if before is not None and before.up is False else self._log.warning
            level("cannot read service", error=str(error), **about)
        elif before is not None and before.up is False:
            self._log.info("service is read again", **about)

    def counted(self, project: str, service_id: str, outcome: Outcome) -> None:
        """Something new was counted, and is durable."""
        row = outcome.state.row
        about = {
            "project": project,
            "service_id": scrub(service_id),
            "service_name": scrub(row.service_name),
        }
        for update in outcome.updates:
            level = self._log.warning if update.result == FAIL else self._log.info
            models = ", ".join(scrub(f"{m.model_name} {m.model_version}") for m in update.models)
            level(
                "update settled",
                result=update.result,
                update_time=iso(update.update_time),
                models=models,
                **about,
            )
        for posted in outcome.events:
            text = scrub(posted.event.event_info, _LONGEST_TEXT)
            if posted.event.event_type == ABNORMAL or posted.reason:
                self._log.warning(
                    "abnormal event", text=text, reason=posted.reason, times=posted.times, **about
                )
            else:
                self._log.debug("event", text=text, times=posted.times, **about)
        for _ in range(outcome.unclassified):
            self._metrics.unclassified(project)
        for anomaly in outcome.anomalies:
            self._metrics.anomaly(project, anomaly.kind)
            self._log.warning(
                "anomaly in a log of the cloud", kind=anomaly.kind, time=iso(anomaly.key.time), **about
            )
        for field, value in outcome.unknown:
            self._metrics.unknown(project, field)
            self._log.warning("unknown value", field=field, value=scrub(value), **about)

    def _count_torn(self, project: str, part: object) -> None:
        if isinstance(part, Torn):
            self._metrics.torn(project)

    def pushed(self, alertmanager: str, error: str) -> None:
        """A send went otherwise than the one before it; `error` is "" where it went well."""
        if error:
            self._log.error("cannot push alerts", alertmanager=alertmanager, error=error)
        else:
            self._log.info("alerts are pushed", alertmanager=alertmanager)

    def not_stored(self, error: StoreError) -> None:
        """Nothing could be made durable, so nothing new is shown."""
        if str(error) != self._store_error:
            self._log.error("cannot store what was read; showing what was known before", error=str(error))
            self._store_error = str(error)

    def stored(self) -> None:
        """What was read is durable."""
        if self._store_error:
            self._log.info("what is read is stored again")
            self._store_error = ""
