"""The interface to the cloud: what can be read, and how a read may fail.

A failure's class says what follows from it: `Throttled` and `Refused` stop the project for a while,
`Gone` ends a service, every other `RemoteError` fails one read and nothing else.
"""

from typing import Protocol, Self

from exporter.core.records import EventWindow, ServiceList, ServiceRow, UpdateWindow


class RemoteError(Exception):
    """The cloud did not give what was asked; the message is one sentence fit for an operator.

    Attributes:
        remedy: what to do about it, in the words of the message; "" where that does not say.

    """

    remedy = ""

    def advising(self, remedy: str) -> Self:
        """The error itself, with the remedy that its message names."""
        self.remedy = remedy
        return self

    @property
    def lasting(self) -> str:
        """The message without what changes from try to try, such as when the next one is."""
        return str(self)


class Unreachable(RemoteError):  # noqa: N818 - the class says what happened, the base that it is an error
    """No answer came: name resolution, connection, TLS, timeout."""


class Refused(RemoteError):  # noqa: N818
    """The credential was refused (401): signing in again changes nothing until it is fixed.

    While it may not be tried, every request fails so at once, and none goes out.

    Args:
        message: the sentence.
        next_try: one more, about when it is tried again; "" for none.

    """

    def __init__(self, message: str, next_try: str = "") -> None:
        super().__init__(f"{message} {next_try}".rstrip())
        self._lasting = message

    @property
    def lasting(self) -> str:
        """The message without the time of the next try."""
        return self._lasting


class Forbidden(RemoteError):  # noqa: N818
    """Signed in, but not permitted (403)."""


class Throttled(RemoteError):  # noqa: N818
    """Too many requests (429).

    Args:
        message: the sentence.
        wait_seconds: from `Retry-After`, else the window the text names, else None.
        allowed_per_second: the rate that the text names (`limit:N,time:1 minute`), else None.

    """

    def __init__(
        self, message: str, wait_seconds: float | None = None, allowed_per_second: float | None = None
    ) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
        self.allowed_per_second = allowed_per_second


class Gone(RemoteError):  # noqa: N818
    """The service does not exist any more: 404 with ModelArts.3502."""


class Torn(RemoteError):  # noqa: N818
    """The rows do not agree with their own count: read again."""


class NotUnderstood(RemoteError):  # noqa: N818
    """An answer that is not what the API says it is: no JSON, wrong shape."""


class Stopping(RemoteError):  # noqa: N818
    """We are shutting down; the read was given up."""


class Source(Protocol):
    """One project of the cloud. Every method may raise any `RemoteError`; none of them retries."""

    def list_services(self) -> ServiceList:
        """Every service of every configured workspace."""

    def read_detail(self, service_id: str) -> ServiceRow:
        """One service, with `error_msg` where it failed."""

    def read_updates(self, service_id: str, instant: int | None = None) -> UpdateWindow:
        """The whole update log, or only the entries of one `update_time` in ms."""

    def read_events(self, service_id: str, after: int | None = None, *, spare: bool = False) -> EventWindow:
        """The events later than `after` (ms, exclusive), or all; `spare`: after all else that waits."""
