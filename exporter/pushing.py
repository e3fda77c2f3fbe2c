"""The second leg of alerting: a thread for each Alertmanager that keeps it told of every alert."""

from collections.abc import Callable, Mapping
from threading import Condition, Thread

from exporter.adapters.alertmanager import LARGEST_BATCH, Alertmanager
from exporter.adapters.telemetry import Telemetry
from exporter.core.pushes import Alerting, Message, Push, Sent, due
from exporter.teller import Teller

Key = tuple[str, str]

# A peer that is down is asked again this soon, or after one resend where that is shorter.
_AGAIN_MS = 5_000


class Peer:
    """One Alertmanager and what it was told.

    Args:
        name: its label in the metrics, without secrets.
        alertmanager: where to send.
        alerts: every alert there is at this moment.
        alerting: how often one is sent again.
        telemetry: counts the sends.
        teller: the log.
        clock: ms since the epoch.

    """

    def __init__(
        self,
        name: str,
        alertmanager: Alertmanager,
        alerts: Callable[[], Mapping[Key, Push]],
        alerting: Alerting,
        telemetry: Telemetry,
        teller: Teller,
        clock: Callable[[], int],
    ) -> None:
        self._name, self._alertmanager, self._alerts, self._alerting = name, alertmanager, alerts, alerting
        self._telemetry, self._teller, self._clock = telemetry, teller, clock
        self._sent: dict[Key, Sent] = {}
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
        """Send no more."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def step(self) -> int:
        """Send what is due. Returns when (ms) to come back at the latest."""
        now, alerts = self._clock(), self._alerts()
        self._sent = {key: sent for key, sent in self._sent.items() if key in alerts}
        messages, again = due(alerts, self._sent, now, self._alerting)
        waiting = list(messages.items())
        while waiting:
            batch, waiting = waiting[:LARGEST_BATCH], waiting[LARGEST_BATCH:]
            if not self._send(dict(batch), now):
                return now + min(_AGAIN_MS, self._alerting.resend)
        return again

    def _send(self, batch: Mapping[Key, Message], now: int) -> bool:
        """Whether the peer is there to take more."""
        reply = self._alertmanager.send(list(batch.values()))
        settled = {id(message) for message in reply.settled}
        for key, message in batch.items():
            if id(message) in settled:
                self._sent[key] = Sent(message.push, message.resolved, now)
        self._telemetry.notification(self._name, "failed" if reply.error else "sent")
        if reply.error != self._error:
            self._teller.pushed(self._name, reply.error)
            self._error = reply.error
        return reply.reached

    def _serve(self) -> None:
        while True:
            again = self.step()
            with self._changed:
                if not self._woken and not self._stopped:
                    self._changed.wait(max(again - self._clock(), 0) / 1000)
                if self._stopped:
                    return
                self._woken = False
