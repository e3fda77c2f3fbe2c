"""Posts alerts to one Alertmanager, and tells which of them it took and which stand there."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from exporter.adapters.http_client import USER_AGENT, Answer, HttpClient
from exporter.core.alerting.notifications import ALERTNAME, SOURCE, Pairs, PostableAlert
from exporter.core.scrub import scrub
from exporter.core.source import RemoteError

# These statuses are about the request: the address, the credential, the time. Every other 4xx says that one
# of the alerts is bad; which one, only smaller batches can tell.
_ABOUT_THE_REQUEST = (401, 403, 404, 405, 407, 408, 429)


class Reply(NamedTuple):
    """What became of the alerts; those in neither of the two lists were not judged."""

    taken: Sequence[PostableAlert]
    rejected: Sequence[PostableAlert]  # bad in themselves: sending them again is of no use
    error: str = ""  # the last thing that went wrong
    down: bool = False  # no answer, a 5xx, or times that it took for others: the next try may go otherwise
    clock: int | None = None  # its own at the answer, ms since the epoch; None: it did not say


class Standing(NamedTuple):
    """The labels of our alerts that fire at an Alertmanager, silenced and inhibited ones too."""

    labels: frozenset[Pairs] = frozenset()
    error: str = ""
    down: bool = False


class _Gettable(msgspec.Struct):
    labels: dict[str, str]


_decode_alerts = msgspec.json.Decoder(list[_Gettable]).decode


class AlertmanagerClient:
    """Sends `POST …/api/v2/alerts`; for one thread.

    Args:
        url: with its path prefix, if it has one.
        transport: TLS and timeout.
        headers: gives the authorization; an `OSError` means that its file cannot be read.

    """

    def __init__(self, url: str, transport: HttpClient, headers: Callable[[], Mapping[str, str]]) -> None:
        self._url = f"{url.rstrip('/')}/api/v2/alerts"
        self._transport = transport
        self._headers = headers

    def send(self, messages: Sequence[PostableAlert]) -> Reply:
        """Post alerts; a bad one among them keeps no good one back. None at all only ask whether it hears."""
        answer = self._ask(
            lambda headers: self._transport.post(self._url, headers, [_body(m) for m in messages])
        )
        if isinstance(answer, Reply):
            return answer
        clock = answer.date_ms
        if answer.status < 300:
            return _taken(messages, clock)
        said = _said(answer)
        if not 400 <= answer.status < 500 or answer.status in _ABOUT_THE_REQUEST:
            return Reply((), (), said, answer.status >= 500, clock)
        if len(messages) <= 1:
            return Reply((), messages, said, clock=clock)
        # Alertmanager may have taken the good ones or not; to send them again does no harm.
        half = len(messages) // 2
        return _joined(self.send(messages[:half]), self.send(messages[half:]), said)

    def standing(self) -> Standing:
        """Which of our alerts fire there."""
        query = urlencode([("filter", f'alertname="{ALERTNAME}"'), ("filter", f'source="{SOURCE}"')])
        answer = self._ask(lambda headers: self._transport.get(f"{self._url}?{query}", headers))
        if isinstance(answer, Reply):
            return Standing(error=answer.error, down=answer.down)
        if answer.status != 200:
            return Standing(error=_said(answer), down=answer.status >= 500)
        try:
            found = _decode_alerts(answer.body)
        except msgspec.DecodeError:
            return Standing(error="its list of alerts is not understood")
        return Standing(frozenset(tuple(sorted(alert.labels.items())) for alert in found))

    def _ask(self, ask: Callable[[Mapping[str, str]], Answer]) -> Answer | Reply:
        try:
            return ask({"User-Agent": USER_AGENT, **self._headers()})
        except RemoteError as error:
            return Reply((), (), str(error), down=True)
        except OSError as error:
            return Reply((), (), f"the credential cannot be read: {error.strerror}")


def _taken(messages: Sequence[PostableAlert], clock: int | None) -> Reply:
    # What is over on arrival is accepted, and nobody is told of it.
    late = {m for m in messages if clock is not None and m.alert.resolved_at is None and m.ends_at <= clock}
    if not late:
        return Reply(messages, (), clock=clock)
    taken = [message for message in messages if message not in late]
    said = "alerts were over on arrival: its clock is ahead of this machine's"
    return Reply(taken, (), said, down=True, clock=clock)


def _said(answer: Answer) -> str:
    return f"HTTP {answer.status}: {scrub(answer.body.decode('utf-8', 'replace'))}"


def _joined(one: Reply, other: Reply, said: str) -> Reply:
    return Reply(
        [*one.taken, *other.taken],
        [*one.rejected, *other.rejected],
        other.error or one.error or said,
        one.down or other.down,
        one.clock if other.clock is None else other.clock,
    )


def _body(message: PostableAlert) -> dict[str, object]:
    return {
        "labels": dict(message.alert.labels),
        "annotations": dict(message.alert.annotations),
        "startsAt": _time(message.starts_at),
        "endsAt": _time(message.ends_at),
        "generatorURL": message.alert.page,
    }


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
