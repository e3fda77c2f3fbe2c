"""One Alertmanager: it is posted alerts, and says which of them it took."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from exporter.adapters.transport import USER_AGENT, Transport
from exporter.core.pushes import Message
from exporter.core.scrub import scrub
from exporter.core.source import RemoteError

# What Prometheus sends at once.
LARGEST_BATCH = 64

# Of these a later try may succeed without a change of ours; every other 4xx says that an alert is bad.
_LATER = (401, 403, 404, 407, 408, 429)


class Reply(NamedTuple):
    """What became of a batch: the messages that need no further try, and what went wrong ("" for nothing)."""

    settled: Sequence[Message]
    error: str
    reached: bool  # whether the Alertmanager took anything, or only rejected what was wrong with it


class Alertmanager:
    """A `POST …/api/v2/alerts`; not to be shared by threads.

    Args:
        url: with its path prefix, if it has one.
        transport: TLS and timeout.
        headers: gives the authorization; an `OSError` means that its file cannot be read.

    """

    def __init__(self, url: str, transport: Transport, headers: Callable[[], Mapping[str, str]]) -> None:
        self._url = f"{url.rstrip('/')}/api/v2/alerts"
        self._transport = transport
        self._headers = headers

    def send(self, messages: Sequence[Message]) -> Reply:
        """Post at most `LARGEST_BATCH` alerts; a bad one among them keeps no good one back."""
        error, bad = self._post(messages)
        if not error:
            return Reply(messages, "", reached=True)
        if not bad:
            return Reply((), error, reached=False)
        if len(messages) == 1:
            # It will be no better the next time.
            return Reply(messages, error, reached=True)
        replies = [self.send([message]) for message in messages]
        errors = [reply.error for reply in replies if reply.error]
        return Reply(
            [message for reply in replies for message in reply.settled],
            errors[0] if errors else "",
            reached=any(reply.reached for reply in replies),
        )

    def _post(self, messages: Sequence[Message]) -> tuple[str, bool]:
        """Why it was not taken ("" if it was), and whether that is an alert's fault."""
        try:
            answer = self._transport.post(
                self._url, {"User-Agent": USER_AGENT, **self._headers()}, [_body(m) for m in messages]
            )
        except OSError as error:
            return f"the credential cannot be read: {error.strerror}", False
        except RemoteError as error:
            return str(error), False
        if answer.status < 300:
            return "", False
        said = scrub(answer.body.decode("utf-8", "replace"))
        bad = 400 <= answer.status < 500 and answer.status not in _LATER
        return f"HTTP {answer.status}: {said}", bad


def _body(message: Message) -> dict[str, object]:
    return {
        "labels": dict(message.push.labels),
        "annotations": dict(message.push.annotations),
        "startsAt": _time(message.push.began),
        "endsAt": _time(message.ends_at),
        "generatorURL": message.push.page,
    }


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
