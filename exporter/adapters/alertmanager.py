"""Posts alerts to one Alertmanager, and tells which of them it took."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from exporter.adapters.http_client import USER_AGENT, HttpClient
from exporter.core.alerting.notifications import PostableAlert
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
    down: bool = False  # no answer, or a 5xx: later it may be another one


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
        """Post alerts, at least one; a bad one among them keeps no good one back."""
        try:
            answer = self._transport.post(
                self._url, {"User-Agent": USER_AGENT, **self._headers()}, [_body(each) for each in messages]
            )
        except RemoteError as error:
            return Reply((), (), str(error), down=True)
        except OSError as error:
            return Reply((), (), f"the credential cannot be read: {error.strerror}")
        if answer.status < 300:
            return Reply(messages, ())
        said = f"HTTP {answer.status}: {scrub(answer.body.decode('utf-8', 'replace'))}"
        if not 400 <= answer.status < 500 or answer.status in _ABOUT_THE_REQUEST:
            return Reply((), (), said, down=answer.status >= 500)
        if len(messages) == 1:
            return Reply((), messages, said)
        # Alertmanager may have taken the good ones or not; to send them again does no harm.
        half = len(messages) // 2
        return _joined(self.send(messages[:half]), self.send(messages[half:]), said)


def _joined(one: Reply, other: Reply, said: str) -> Reply:
    return Reply(
        [*one.taken, *other.taken],
        [*one.rejected, *other.rejected],
        other.error or one.error or said,
        one.down or other.down,
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
