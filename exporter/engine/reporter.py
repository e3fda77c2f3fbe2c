"""What operators are told of a change that is durable: lines in the log, and counts in the self-metrics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice

from structlog.typing import FilteringBoundLogger

from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.store.errors import StoreError
from exporter.core.accounting.service_state import Outcome, PostedEvent
from exporter.core.accounting.stored_format import Kind
from exporter.core.formats import iso
from exporter.core.polling.progress import Progress, is_worth_a_line, seconds_left
from exporter.core.records import ABNORMAL, FAIL, ServiceList, ServiceRow, Update
from exporter.core.scrub import scrub
from exporter.core.source import Gone, Torn
from exporter.engine.changes import AuditOutcome, ChangeSet, ListOutcome, PollOutcome, ProjectChange

# An event's text is what the shipped log is searched for; this holds the longest known one twice over.
_LONGEST_TEXT = 1000
# Of one kind, for one read of a service. A failed deployment brings a dozen different texts; a backlog of
# days may bring thousands. All of them are counted, and the cloud's log still has them.
_MOST_LINES = 50


class Reporter:
    """Logs and counts what happened; a state that lasts is logged once, when it begins."""

    def __init__(self, log: FilteringBoundLogger, metrics: SelfMetrics) -> None:
        self._log, self._metrics = log, metrics
        self._store_error = ""
        self._listed: dict[str, int] = {}  # services that the last complete list of a project had
        self._first_reads: dict[str, Progress] = {}  # by project, as the log has told last

    def report(self, changes: ChangeSet) -> None:
        """What one step brought, after it was written and shown."""
        for change in changes.projects:
            self._report_project(change)

    def _report_project(self, change: ProjectChange) -> None:
        project = change.status.name
        for listed in change.lists:
            self._report_list(project, listed)
        for poll in change.polls:
            self._report_poll(project, poll)
        if change.lists:
            self._report_services_found(project, change)
        for service_id, outcome in change.outcomes:
            self._report_counted(project, service_id, outcome)
        for audit in change.audits:
            self._report_audit(project, audit)
        for seconds in change.poll_seconds:
            self._metrics.poll_duration(project, seconds)
        if change.rate is not None:
            self._metrics.rate(project, change.rate)
        if change.sweep_seconds is not None:
            self._metrics.sweep_duration(project, change.sweep_seconds)
        if change.status.first_reads is not None:
            self._report_first_reads(project, change.status.first_reads)

    def _report_first_reads(self, project: str, progress: Progress) -> None:
        if not is_worth_a_line(progress, self._first_reads.get(project)):
            return
        self._first_reads[project] = progress
        about = {"project": project, "services": progress.total, "failed": progress.failed}
        if progress.finished:
            self._log.info("all services were read", **about, seconds=round(progress.seconds, 1))
        else:
            left = seconds_left(progress, progress.at) or "unknown"
            self._log.info("services are being read", **about, tried=progress.done, seconds_left=left)

    def _report_list(self, project: str, listed: ListOutcome) -> None:
        result, before = listed.result, listed.error_before
        if isinstance(result, ServiceList):
            self._report_services(project, result, before)
            if result.complete:
                self._metrics.listed(project, listed.at / 1000)
            return
        self._count_torn(project, result)
        if result.lasting != before:
            self._log.error("cannot list services", project=project, error=str(result))

    def _report_services(self, project: str, services: ServiceList, before: str) -> None:
        if services.malformed:
            for _ in range(services.malformed):
                self._metrics.unknown(project, "services")
            self._log.warning(
                "rows of the list are malformed and left out", project=project, rows=services.malformed
            )
        if services.error:
            if services.error != before:
                self._log.error("cannot list services", project=project, error=services.error)
            return
        if not services.complete:
            self._metrics.torn(project)
            self._log.warning("the list is torn; nothing is concluded from what it lacks", project=project)
            return
        count = len(services.rows)
        changed = self._listed.get(project) != count
        self._listed[project] = count
        if before:
            self._log.info("services are listed again", project=project, services=count)
        else:
            level = self._log.info if changed else self._log.debug
            level("services listed", project=project, services=count)

    def _report_services_found(self, project: str, change: ProjectChange) -> None:
        """New and deleted services of a list; those of the first list are only counted."""
        gone = {poll.result.job.service_id for poll in change.polls if poll.result.has(Gone)}
        for service_id, state in change.services.items():
            row = state.after.row
            about = {
                "project": project,
                "service_id": scrub(service_id),
                "service_name": scrub(row.service_name),
            }
            if not state.present and service_id not in gone:
                self._log.info("service is deleted", **about)
            elif state.present and state.before is None and not state.after.updates.preexisting:
                self._log.info(
                    "service is new" if state.after.read_at is None else "service is back", **about
                )

    def _report_poll(self, project: str, poll: PollOutcome) -> None:
        result, before = poll.result, poll.before
        about = {"project": project, "service_id": scrub(result.job.service_id)}
        if result.job.detail:
            if result.error is not None:
                self._log.warning("cannot read why a service failed", error=str(result.error), **about)
            return
        for part in (result.updates, result.events):
            self._count_torn(project, part)
        error = result.error
        failed_before = before is not None and before.up is False
        if isinstance(error, Gone):
            self._log.info("service is deleted", **about)
        elif error is not None:
            level = self._log.debug if failed_before else self._log.warning
            level("cannot read service", error=str(error), **about)
        elif failed_before:
            self._log.info("service is read again", **about)

    def _count_torn(self, project: str, part: object) -> None:
        if isinstance(part, Torn):
            self._metrics.torn(project)

    def _report_audit(self, project: str, audit: AuditOutcome) -> None:
        about = {"project": project}
        if audit.row is not None:
            about["service_id"] = scrub(audit.row.service_id)
            about["service_name"] = scrub(audit.row.service_name)
        if audit.error is not None:
            self._count_torn(project, audit.error)
            self._log.debug("cannot audit service", error=str(audit.error), **about)
            return
        self._metrics.audited(project, audit.at / 1000)
        for found in audit.differences:
            for kind in found.kinds:
                self._metrics.audit_difference(project, kind)
            self._log.warning(
                "event log differs from what was counted",
                day=found.date,
                kinds=", ".join(found.kinds),
                counted=found.counted,
                shown=found.shown,
                **about,
            )

    def _report_counted(self, project: str, service_id: str, outcome: Outcome) -> None:
        row = outcome.state.row
        about = {
            "project": project,
            "service_id": scrub(service_id),
            "service_name": scrub(row.service_name),
        }
        self._report_updates(outcome.updates, about)
        self._report_events(outcome.events, about)
        for _ in range(outcome.unclassified):
            self._metrics.unclassified(project)
        for anomaly in outcome.anomalies:
            self._metrics.anomaly(project, anomaly.kind)
        # A cloud that lost a whole log shows hundreds of one kind.
        for kind in dict.fromkeys(anomaly.kind for anomaly in outcome.anomalies):
            times = [anomaly.key.time for anomaly in outcome.anomalies if anomaly.kind == kind]
            self._log.warning(
                "anomaly in a log of the cloud", kind=kind, time=iso(min(times)), entries=len(times), **about
            )
        for field, _value in outcome.unknown:
            self._metrics.unknown(project, field)
        values = Counter(outcome.unknown)
        for field, value in islice(values, _MOST_LINES):
            self._log.warning(
                "unknown value", field=field, value=scrub(value), entries=values[field, value], **about
            )
        self._report_rest("unknown values", len(values), about)

    def _report_updates(self, updates: Sequence[Update], about: Mapping[str, str]) -> None:
        # The newest ones: it is they that the service is judged by.
        for update in updates[-_MOST_LINES:]:
            level = self._log.warning if update.result == FAIL else self._log.info
            models = ", ".join(scrub(f"{m.model_name} {m.model_version}") for m in update.models)
            level(
                "update settled",
                result=update.result,
                update_time=iso(update.update_time),
                models=models,
                **about,
            )
        self._report_rest("settled updates", len(updates), about)

    def _report_events(self, events: Sequence[PostedEvent], about: Mapping[str, str]) -> None:
        # A crash loop writes one text again and again, each time at another moment.
        abnormal, others = Counter[tuple[str, str]](), Counter[str]()
        for posted in events:
            if posted.event.event_type == ABNORMAL or posted.reason:
                abnormal[posted.event.event_info, posted.reason] += posted.times
            else:
                others[posted.event.event_info] += posted.times
        for text, times in islice(others.items(), _MOST_LINES):
            self._log.debug("event", text=scrub(text, _LONGEST_TEXT), times=times, **about)
        for (text, reason), times in islice(abnormal.items(), _MOST_LINES):
            self._log.warning(
                "abnormal event", text=scrub(text, _LONGEST_TEXT), reason=reason, times=times, **about
            )
        self._report_rest("abnormal events", len(abnormal), about)

    def _report_rest(self, what: str, count: int, about: Mapping[str, str]) -> None:
        if count > _MOST_LINES:
            self._log.warning(
                "more was read at once than is logged", what=what, left_out=count - _MOST_LINES, **about
            )

    # --- what surrounds the polls ------------------------------------------------------------------

    def notified(self, alertmanager: str, error: str) -> None:
        """A send ended otherwise than the one before it; `error` is "" where it went well."""
        if error:
            self._log.error("cannot push alerts", alertmanager=alertmanager, error=error)
        else:
            self._log.info("alerts are pushed", alertmanager=alertmanager)

    def alerts_not_listed(self, alertmanager: str, error: str) -> None:
        """An Alertmanager does not say which alerts stand there."""
        self._log.warning(
            "cannot list alerts; of services that cannot be read only those sent before are sent again",
            alertmanager=alertmanager,
            error=error,
        )

    def clock_ahead(self, alertmanager: str, seconds: float) -> None:
        """The clock of an Alertmanager is so far ahead of ours, or behind if negative; 0: no more."""
        if seconds:
            self._log.warning(
                "this machine's clock and Alertmanager's differ; it is sent times of its own clock",
                alertmanager=alertmanager,
                ahead_seconds=round(seconds),
            )
        else:
            self._log.info("this machine's clock and Alertmanager's agree again", alertmanager=alertmanager)

    def told(self, project: str, row: ServiceRow | None = None) -> None:
        """Somebody asked to read a service, or the list, without waiting until it is due."""
        if row is None:
            self._log.info("asked to list services now", project=project)
            return
        about = {"service_id": scrub(row.service_id), "service_name": scrub(row.service_name)}
        self._log.info("asked to read a service now", project=project, **about)

    def damaged(self, project: str, service_id: str, kind: Kind) -> None:
        """A record of the store is damaged and not used; see `Repository`."""
        about = {"project": project, "record": kind}
        if service_id:
            about["service_id"] = scrub(service_id)
        self._log.error("a record of the store is damaged; what it held is lost", **about)

    def stored(self, seconds: float, size: int) -> None:
        """A commit took so many seconds, and the store has so many bytes."""
        self._metrics.commit(seconds)
        self._metrics.store_size(size)
        if self._store_error:
            self._log.info("what is read is stored again")
            self._store_error = ""

    def not_stored(self, error: StoreError) -> None:
        """Nothing could be made durable, so nothing new is shown."""
        self._metrics.commit_failed()
        if str(error) != self._store_error:
            self._log.error("cannot store what was read; showing what was known before", error=str(error))
            self._store_error = str(error)
