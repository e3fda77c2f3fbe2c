"""One exchange with a server over HTTPS: bounded in time and size, never redirected, never repeated."""

import io
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import requests
import urllib3

from exporter.core.source import NotUnderstood, RemoteError, Unreachable

USER_AGENT = f"modelarts-exporter/{version('modelarts-exporter')}"

# A thousand services are about 1 MB, a thousand events 0.3 MB, a log of a thousand updates of the largest
# published kind 3 MB. Four fetchers with the largest body still fit the 300 MiB that the process may take.
BODY_CAP_BYTES = 32 * 1024 * 1024
# Large enough for few system calls, small enough that the clock is looked at often.
CHUNK_BYTES = 64 * 1024
# A TCP connection is there after three lost SYNs (1 + 2 + 4 s) or not at all.
CONNECT_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer; the names of its headers are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What every session of a project has in common; `verify` as requests understands it."""

    timeout_seconds: float
    verify: bool | str
    proxy_url: str | None


class TooLarge(requests.RequestException):
    """The body is larger than `BODY_CAP_BYTES`."""


class BoundedSession(requests.Session):
    """A session whose answers are read whole within the deadline, for one thread at a time."""

    def __init__(self, settings: SessionSettings) -> None:
        super().__init__()
        # The environment could add credentials from a .netrc file, or a proxy that the config does not name.
        self.trust_env = False
        self.verify = settings.verify
        if settings.proxy_url is not None:
            self.proxies = {"http": settings.proxy_url, "https": settings.proxy_url}
        self._timeout_seconds = settings.timeout_seconds

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send, and read the body with an eye on the clock.

        A single wait for the socket is bounded by the timeout too, so a server that goes silent in
        the middle of the body can at worst double it.
        """
        deadline = time.monotonic() + self._timeout_seconds
        kwargs["stream"] = True
        kwargs["allow_redirects"] = False
        kwargs["timeout"] = (min(CONNECT_TIMEOUT_SECONDS, self._timeout_seconds), self._timeout_seconds)
        response = super().send(request, **kwargs)
        try:
            body = _read(response.raw, deadline)
        except urllib3.exceptions.DecodeError as error:
            response.close()
            raise requests.exceptions.ContentDecodingError from error
        except urllib3.exceptions.HTTPError as error:
            response.close()
            raise requests.exceptions.ConnectionError from error
        except BaseException:
            response.close()
            raise
        response.raw = io.BytesIO(body)
        return response


def _read(raw: Any, deadline: float) -> bytes:
    body = bytearray()
    # read1 gives what one system call brought; read would wait for a whole chunk from a slow server.
    while chunk := raw.read1(CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > BODY_CAP_BYTES:
            raise TooLarge
        if time.monotonic() > deadline:
            raise requests.exceptions.ReadTimeout
    return bytes(body)


class HttpClient:
    """Where one project's requests go out: TLS, proxy and timeout, and one session for each thread.

    Args:
        timeout_seconds: for a whole exchange.
        ca_file: PEM file of the authorities to trust; None: those of certifi.
        insecure_skip_verify: do not check certificates.
        proxy_url: None: no proxy, whatever the environment says.

    """

    def __init__(
        self,
        timeout_seconds: float,
        ca_file: str | None = None,
        *,
        insecure_skip_verify: bool = False,
        proxy_url: str | None = None,
    ) -> None:
        verify: bool | str = False if insecure_skip_verify else ca_file or True
        self.settings = SessionSettings(timeout_seconds, verify, proxy_url)
        self._local = threading.local()
        if insecure_skip_verify:
            # Asked for in the config: a warning at each request would say nothing new.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def _session(self) -> BoundedSession:
        """The calling thread's own session."""
        session: BoundedSession | None = getattr(self._local, "session", None)
        if session is None:
            session = BoundedSession(self.settings)
            self._local.session = session
        return session

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """The answer, whatever its status. Raises `Unreachable`; `NotUnderstood` for an unreadable body."""
        return self._exchange(requests.Request("GET", url, headers=dict(headers)))

    def post(self, url: str, headers: Mapping[str, str], body: object) -> Answer:
        """The answer to a JSON body; raises as `get` does."""
        return self._exchange(requests.Request("POST", url, headers=dict(headers), json=body))

    def _exchange(self, asked: requests.Request) -> Answer:
        session = self._session()
        try:
            request = session.prepare_request(asked)
            request.url = asked.url  # verbatim: what was signed is what is sent
            response = session.send(request)
        except (OSError, urllib3.exceptions.HTTPError, UnicodeError) as error:
            raise failure(error) from error
        names = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, names, response.content)


def failure(error: BaseException) -> RemoteError:
    """What to tell of an exchange that brought no answer.

    The sentence never quotes requests' own: those hold URLs, proxies with passwords, and headers.
    """
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    if any(isinstance(cause, TooLarge) for cause in causes):
        return NotUnderstood(f"The answer is larger than {BODY_CAP_BYTES // 1024 // 1024} MiB.")
    if any(isinstance(cause, requests.exceptions.ContentDecodingError) for cause in causes):
        return NotUnderstood("The answer is not compressed as it says.")
    return Unreachable(f"No answer came: {_reason(causes)}.")


def _reason(causes: Sequence[BaseException]) -> str:
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate was not accepted ({cause.verify_message})"
        if isinstance(cause, requests.Timeout | TimeoutError):
            return "it took longer than the timeout"
    innermost = causes[-1]
    if isinstance(innermost, OSError) and innermost.strerror:
        return innermost.strerror
    return type(innermost).__name__
