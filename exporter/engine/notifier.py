"""The second leg of alerting: a thread for each Alertmanager that keeps it told of every alert."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Condition, Thread

from exporter.adapters.alertmanager import AlertmanagerClient, Reply, Standing
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.core.alerting.notifications import (
    HEARTBEAT_MS,
    Alert,
    Key,
    LastSend,
    NotifierOptions,
    batches,
    due,
    postable,
)
from exporter.engine.reporter import Reporter

# A peer that is down is asked again this soon, or after one resend where that is shorter: it forgot every
# alert when it was restarted, and should hear of the pushed one before it hears of the rule's.
_AGAIN_MS = 5_000

# Clocks that differ by less do no harm: an end lies one resend in the past, and a lease is minutes long. The
# header names a whole second, and an answer may take some.
_SAME_CLOCK_MS = 5_000


class SendLoop:
    """One Alertmanager and what it was told.

    Each peer judges by its own clock whether an alert is over, and peers may differ. So each is sent times of
    its own clock, as its answers show it. The first post is empty, to see that clock before an alert is sent.
    Where there is nothing to send for a while, an empty post shows whether a peer still takes any.

    Args:
        name: its label in the metrics, without secrets.
        alertmanager: where to send.
        alerts: every alert there is at this moment.
        options: how often one is sent again.
        metrics: counts the alerts that were sent.
        reporter: the log.
        clock: ms since the epoch.
        on_bug: told what ended the thread; that is a bug of ours.

    """

    def __init__(
        self,
        name: str,
        alertmanager: AlertmanagerClient,
        alerts: Callable[[], Mapping[Key, Alert]],
        options: NotifierOptions,
        metrics: SelfMetrics,
        reporter: Reporter,
        clock: Callable[[], int],
        on_bug: Callable[[BaseException], None],
    ) -> None:
        self._name, self._alertmanager, self._alerts, self._options = (
            name,
            alertmanager,
            alerts,
            options,
        )
        self._metrics, self._reporter, self._clock, self._on_bug = metrics, reporter, clock, on_bug
        self._sent: dict[Key, LastSend] = {}
        self._posted_at: int | None = None
        self._ahead = 0  # its clock minus ours, ms
        self._error = self._list_error = ""
        self._changed = Condition()
        self._woken = self._stopped = False

    def start(self) -> None:
        """Send from a thread of its own until `stop`; a peer that hangs does not hold up the end."""
        Thread(target=self._serve, name=f"push-{self._name}", daemon=True).start()

    def wake(self) -> None:
        """Something changed."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def stop(self) -> None:
        """Send no more, but for what is on its way."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def step(self) -> int:
        """Send what is due. Returns when (ms) to come back at the latest."""
        alerts = self._alerts()
        self._sent = {key: sent for key, sent in self._sent.items() if key in alerts}
        keys, again = due(alerts, self._sent, self._clock(), self._options)
        errors = []
        for error, down in self._exchanges(alerts, keys):
            errors.append(error)
            if down:
                again = self._clock() + min(_AGAIN_MS, self._options.resend)
                self._posted_at = None  # ask whether it hears, before any alert
                break
        if errors:
            self._tell(next(filter(None, errors), ""))
        # What was refused is tried again with the next heartbeat at the latest.
        return again if self._posted_at is None else min(again, self._posted_at + HEARTBEAT_MS)

    def _exchanges(self, alerts: Mapping[Key, Alert], keys: Sequence[Key]) -> Iterator[tuple[str, bool]]:
        """Do what is due, request by request: the error of each, and whether the peer is down."""
        idle = self._posted_at is None or (
            not keys and not 0 <= self._clock() - self._posted_at < HEARTBEAT_MS
        )
        if idle and not self._stopped:
            reply = self._post({})
            yield reply.error, reply.down
        unconfirmed = [key for key in keys if not alerts[key].confirmed]
        if unconfirmed:
            standing = self._alertmanager.standing()
            if standing.down:
                yield standing.error, True
            self._tell_of_list(standing.error)
            withheld = {key for key in unconfirmed if not self._stands(key, alerts[key], standing)}
            now = self._clock()
            self._sent |= {key: LastSend(alerts[key], now, withheld=True) for key in withheld}
            keys = [key for key in keys if key not in withheld]
        for batch in batches(keys, self._sent):
            if self._stopped:
                return
            reply = self._post({key: alerts[key] for key in batch})
            yield reply.error, reply.down
            if len(reply.taken) + len(reply.rejected) < len(batch):
                return

    def _stands(self, key: Key, alert: Alert, standing: Standing) -> bool:
        if not standing.error:
            return alert.labels in standing.labels
        # It does not say: go on with what it was told, and begin nothing.
        return key in self._sent and not self._sent[key].withheld

    def _post(self, batch: Mapping[Key, Alert]) -> Reply:
        # A lease begins when it is sent, and a slow peer takes its time for each batch.
        now = self._posted_at = self._clock()
        told = {key: postable(alert, now, self._options, self._ahead) for key, alert in batch.items()}
        reply = self._alertmanager.send(list(told.values()))
        if reply.clock is not None:
            self._compare_clocks(reply.clock - self._clock())
        taken, rejected = set(reply.taken), set(reply.rejected)
        for key, message in told.items():
            if message in taken or message in rejected:
                self._sent[key] = LastSend(message.alert, now, rejected=message in rejected)
        sent, wanted = (len(taken), len(batch)) if batch else (int(not reply.error), 1)
        self._metrics.notifications(self._name, "sent", sent)
        self._metrics.notifications(self._name, "failed", wanted - sent)
        return reply

    def _compare_clocks(self, ahead: int) -> None:
        if abs(ahead - self._ahead) > _SAME_CLOCK_MS:
            self._ahead = ahead if abs(ahead) > _SAME_CLOCK_MS else 0
            self._reporter.clock_ahead(self._name, self._ahead / 1000)

    def _tell_of_list(self, error: str) -> None:
        if error and error != self._list_error:
            self._reporter.alerts_not_listed(self._name, error)
        self._list_error = error

    def _tell(self, error: str) -> None:
        if error != self._error:
            self._reporter.notified(self._name, error)
            self._error = error

    def _serve(self) -> None:
        try:
            while not self._stopped:
                again = self.step()
                with self._changed:
                    if not self._woken and not self._stopped:
                        self._changed.wait(max(again - self._clock(), 0) / 1000)
                    self._woken = False
        except BaseException as error:  # noqa: BLE001 - a bug of ours ends the process, in the main thread
            self._on_bug(error)
