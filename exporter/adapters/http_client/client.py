"""Requests to one server or a few: each is one exchange, with the trust and the proxy of a configuration."""

import builtins
import http.client
import ipaddress
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cached_property
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_auth_from_url, get_environ_proxies, select_proxy

from exporter.adapters.http_client.exchange import POOLS, Exchange, current
from exporter.adapters.http_client.failures import TooLarge, causes, failure
from exporter.adapters.http_client.trust import tls_context
from exporter.core.source import Unreachable

USER_AGENT = f"modelarts-exporter/{version('modelarts-exporter')}"

# The `proxy_url` that means no proxy, whatever the environment says.
NO_PROXY = "none"

# A thousand services are about 1 MB, a thousand events 0.3 MB, a log of a thousand updates of the largest
# published kind 3 MB. Four fetchers with the largest body still fit the 300 MiB that the process may take.
BODY_CAP_BYTES = 32 * 1024 * 1024
# Large enough for few system calls, small enough that the size is looked at often.
CHUNK_BYTES = 64 * 1024

# What a connection raises that the other side has closed.
_CLOSED = (builtins.ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer; the names of its headers are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def date_ms(self) -> int | None:
        """The server's clock by the `Date` header, ms since the epoch; None without a usable one."""
        return http_date_ms(self.headers.get("date", ""))


def http_date_ms(text: str) -> int | None:
    """A time as HTTP headers have it, ms since the epoch; None if it is none."""
    try:
        at = parsedate_to_datetime(text)
        # A date without a zone, or with -0000, has none here; HTTP knows no other than UTC.
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, TypeError, OverflowError):
        return None


class HttpClient:
    """Sends requests, and keeps connections for each thread. Threads may share it.

    Nothing is read from a .netrc file: its credentials would replace ours.

    Args:
        timeout_seconds: for a whole exchange, from the lookup of the name to the last byte. It may be set
            anew, for the exchanges that begin afterwards.
        ca_file: PEM file of the authorities to trust; None: see `trust`.
        insecure_skip_verify: do not check certificates.
        proxy_url: None: that of the environment, if it names one; `NO_PROXY`: none.
        proxy_login: gives user and password for the proxy; an `OSError` means that they cannot be read.

    """

    def __init__(
        self,
        timeout_seconds: float,
        ca_file: str | None = None,
        *,
        insecure_skip_verify: bool = False,
        proxy_url: str | None = None,
        proxy_login: Callable[[], tuple[str, str]] | None = None,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self._ca_file = ca_file
        self._insecure_skip_verify = insecure_skip_verify
        self._proxy_url = proxy_url
        self._proxy_login = proxy_login
        self._local = threading.local()
        if insecure_skip_verify:
            # Asked for in the config: a warning at each request would say nothing new.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """The answer, whatever its status.

        Raises `Unreachable`; `NotUnderstood` for a body that is too large or cannot be decompressed.
        """
        return self._exchange(requests.Request("GET", url, headers=dict(headers)))

    def post(self, url: str, headers: Mapping[str, str], body: object) -> Answer:
        """The answer to a JSON body; raises as `get` does."""
        return self._exchange(requests.Request("POST", url, headers=dict(headers), json=body))

    def proxy_of(self, url: str) -> str:
        """Host and port of the proxy that a request goes through; "" for none. Raises `Unreachable`."""
        return urlsplit(select_proxy(url, dict(self._proxies(url))) or "").netloc.rpartition("@")[2]

    def _exchange(self, asked: requests.Request) -> Answer:
        exchange = Exchange(self.timeout_seconds, asked.url)
        before = current.set(exchange)
        try:
            request = asked.prepare()
            request.url = asked.url  # verbatim: what was signed is what is sent
            proxies = dict(self._proxies(asked.url))
            try:
                return self._send(request, proxies)
            except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
                # The server closed a kept connection just when the request was on its way: it never saw it,
                # and a GET does no harm if it did.
                stale = not exchange.connected and not exchange.received
                if asked.method != "GET" or not stale or not _is_closed(error):
                    raise
                return self._send(request, proxies)
        except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException, UnicodeError) as error:
            raise failure(error, exchange) from error
        finally:
            current.reset(before)

    def _send(self, request: requests.PreparedRequest, proxies: dict[str, str]) -> Answer:
        response = self._adapter().send(request, stream=True, proxies=proxies)
        try:
            body = _read(response.raw)
        finally:
            response.close()  # a whole answer has given its connection back before
        return Answer(
            response.status_code, {name.lower(): value for name, value in response.headers.items()}, body
        )

    def _adapter(self) -> HTTPAdapter:
        """The calling thread's own, so that a kept connection is this thread's too."""
        adapter: HTTPAdapter | None = getattr(self._local, "adapter", None)
        if adapter is None:
            adapter = self._local.adapter = _Adapter(self)
        return adapter

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Whose certificates are trusted. Raises `OSError`."""
        return tls_context(self._ca_file, insecure_skip_verify=self._insecure_skip_verify)

    def _proxies(self, url: str) -> Mapping[str, str]:
        """The proxy by its kind of URL, as requests knows it."""
        if self._proxy_url == NO_PROXY:
            return {}
        if self._proxy_url is None:
            # Go's programs, such as Prometheus, do not look for themselves behind a proxy either.
            return {} if _is_loopback(urlsplit(url).hostname or "") else get_environ_proxies(url)
        proxy = self._proxy_url
        if self._proxy_login is not None:
            try:
                user, password = self._proxy_login()
            except OSError as error:
                reason = error.strerror or type(error).__name__
                raise Unreachable(
                    f"No request was sent: the proxy's password cannot be read: {reason}."
                ) from error
            parts = urlsplit(proxy)
            proxy = parts._replace(netloc=f"{quote(user, '')}:{quote(password, '')}@{parts.netloc}").geturl()
        return {"all": proxy}


class _Adapter(HTTPAdapter):
    """requests' way to urllib3, with our connections and our trust."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if proxy.lower().startswith("https:"):
            kwargs["proxy_ssl_context"] = self._client.tls
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = POOLS
        return manager

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        user, password = get_auth_from_url(proxy)
        if not user:
            return {}
        return {"Proxy-Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._client.tls} if host["scheme"] == "https" else {}

    def cert_verify(self, *args: Any) -> None:
        """Left to the context: requests would add the authorities of certifi to it."""


def _read(raw: Any) -> bytes:
    body = bytearray()
    # read1 gives what one system call brought; read would wait for a whole chunk from a slow server.
    while chunk := raw.read1(CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > BODY_CAP_BYTES:
            raise TooLarge(BODY_CAP_BYTES)
    return bytes(body)


def _is_closed(error: BaseException) -> bool:
    return any(isinstance(cause, _CLOSED) for cause in causes(error))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
