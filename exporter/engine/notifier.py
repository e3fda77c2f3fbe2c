"""The second leg of alerting: a thread for each Alertmanager that keeps it told of every alert."""

from collections.abc import Callable, Mapping
from threading import Condition, Thread

from exporter.adapters.alertmanager import AlertmanagerClient, Reply
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.core.alerting.notifications import (
    Alert,
    Key,
    LastSend,
    NotifierOptions,
    PostableAlert,
    batches,
    due,
    postable,
)
from exporter.engine.reporter import Reporter

# A peer that is down is asked again this soon, or after one resend where that is shorter: it forgot every
# alert when it was restarted, and should hear of the pushed one before it hears of the rule's.
_AGAIN_MS = 5_000


class SendLoop:
    """One Alertmanager and what it was told.

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
        self._error = ""
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
        for batch in batches(keys, self._sent):
            if self._stopped:
                break
            # A lease begins when it is sent, and a slow peer takes its time for each batch.
            now = self._clock()
            reply = self._send({key: postable(alerts[key], now, self._options) for key in batch}, now)
            errors.append(reply.error)
            if len(reply.taken) + len(reply.rejected) < len(batch):
                resend = self._options.resend
                again = self._clock() + (min(_AGAIN_MS, resend) if reply.down else resend)
                break
        if errors:
            self._tell(next(filter(None, errors), ""))
        return again

    def _send(self, batch: Mapping[Key, PostableAlert], now: int) -> Reply:
        reply = self._alertmanager.send(list(batch.values()))
        taken, rejected = set(reply.taken), set(reply.rejected)
        for key, told in batch.items():
            if told in taken or told in rejected:
                self._sent[key] = LastSend(told.alert, now, rejected=told in rejected)
        self._metrics.notifications(self._name, "sent", len(taken))
        self._metrics.notifications(self._name, "failed", len(batch) - len(taken))
        return reply

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
