"""HTTP/1.1 with one client: its requests one after the other, each within a deadline.

h11 knows the protocol, `stream` moves the bytes. No step waits for the client without a deadline, and none
holds a thread meanwhile.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from traceback import format_exc
from typing import Any, NamedTuple, cast

import h11

from exporter.adapters.web.app import WebApp
from exporter.adapters.web.connection_limiter import ConnectionLimiter
from exporter.adapters.web.message import Request, Response
from exporter.adapters.web.stream import Stream

# A head of Prometheus has some 500 bytes, of a browser with cookies a few thousand. h11 counts what is not
# whole yet: a larger head comes in if the read that goes beyond this ends it.
_HEAD_BYTES = 16 * 1024
# No request has a body that means anything.
_BODY_BYTES = 64 * 1024


class Deadlines(NamedTuple):
    """What clients may take, in seconds.

    Attributes:
        request: for a whole request, the first one together with the TLS handshake. Prometheus gives up a
            scrape after 10 s by default.
        answer: to read a whole answer, and to close after the last one; no scrape lasts longer than the usual
            interval between two.
        idle: until the next request begins; longer than the usual interval, so that connections are kept.
        delivered: to give an answer up that its system has got whole: longer than a reader that lives pauses,
            shorter than usual intervals, so that the next scrape shows what waited for this one.

    """

    request: float = 10
    answer: float = 60
    idle: float = 120
    delivered: float = 5


class _BadRequestError(Exception):
    """What the client sent is no request that we answer."""

    def __init__(self, status: HTTPStatus, sentence: str, path: str = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.path = path


class Connection:
    """One connection from its first byte to its end.

    Args:
        stream: its bytes.
        app: what answers.
        limiter: where the task that runs this is counted.
        deadlines: for the client.
        on_error: told of a failure that is not the client's, with where it happened.
        client: who it is, see `fair_queue.client_of`.

    """

    def __init__(
        self,
        stream: Stream,
        app: WebApp[Any],
        limiter: ConnectionLimiter,
        deadlines: Deadlines,
        on_error: Callable[[str], None],
        client: str,
    ) -> None:
        self._stream = stream
        self._app = app
        self._limiter = limiter
        self._deadlines = deadlines
        self._on_error = on_error
        self._client = client
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)

    async def run(self) -> None:
        """Answer until one side ends it."""
        try:
            with suppress(OSError):  # the client has gone or is too slow, which is its business
                await self._run()
        except Exception:  # noqa: BLE001 - a bug of ours costs one connection, never the server
            self._on_error(format_exc())

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(self._deadlines.request):
                self._limiter.waits()
                request = await self._first_request()
            while request is not None and await self._answer(request):
                request = await self._next_request()
        except _BadRequestError as bad:
            response = self._app.refuse(bad.path, bad.status, bad.sentence)
            async with asyncio.timeout(self._deadlines.answer):
                await self._send(response._replace(headers={**response.headers, "Connection": "close"}))
                self._stream.end()
                await self._drain()

    async def _first_request(self) -> Request | None:
        if await self._stream.handshake():
            return await self._request()
        await self._stream.receive()
        raise _BadRequestError(HTTPStatus.BAD_REQUEST, "This port speaks HTTPS, ask https://.")

    async def _next_request(self) -> Request | None:
        self._limiter.waits()
        self._http.start_next_cycle()
        if not self._http.trailing_data[0]:
            async with asyncio.timeout(self._deadlines.idle):
                self._http.receive_data(await self._stream.receive())
        async with asyncio.timeout(self._deadlines.request):
            return await self._request()

    async def _request(self) -> Request | None:
        """A whole request; None: the client wants nothing more."""
        try:
            head = await self._event()
            if not isinstance(head, h11.Request):
                return None
            headers = dict(head.headers)
            request = _parsed(head)
            if b"transfer-encoding" in headers:
                # No body means anything here, and the framing of chunks could be made to last for ever.
                raise _BadRequestError(
                    HTTPStatus.LENGTH_REQUIRED, "send a body with its Content-Length", request.path
                )
            size = int(headers.get(b"content-length", b"0"))
            while size <= _BODY_BYTES:
                event = await self._event()
                if isinstance(event, h11.EndOfMessage):
                    return request._replace(client=self._client)
                size += len(event.data) if isinstance(event, h11.Data) else 0
        except h11.RemoteProtocolError as error:
            raise self._refusal(error) from None
        raise _BadRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large", request.path)

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._write([self._http.send(h11.InformationalResponse(status_code=100, headers=[]))])
            self._http.receive_data(await self._stream.receive())
        return event

    def _refusal(self, error: h11.RemoteProtocolError) -> _BadRequestError:
        status = HTTPStatus(error.error_status_hint)
        if status != HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            return _BadRequestError(status, "this is no request of HTTP/1.1")
        if b"\n" not in self._http.trailing_data[0]:
            return _BadRequestError(HTTPStatus.REQUEST_URI_TOO_LONG, "the address is too long")
        return _BadRequestError(status, "the head is too large")

    async def _answer(self, request: Request) -> bool:
        """Answer; return whether the client may ask again."""
        self._limiter.works()
        try:
            response = await self._app.answer(request)
        except Exception:  # noqa: BLE001 - told, and the client gets an answer
            self._on_error(format_exc())
            failure = "this is our fault, and the log has the reason"
            response = self._app.refuse(request.path, HTTPStatus.INTERNAL_SERVER_ERROR, failure)
        async with asyncio.timeout(self._deadlines.answer):
            await self._send(response, with_body=request.method != "HEAD")
            goes_on = self._http.our_state is self._http.their_state is h11.DONE
            if not goes_on:
                self._stream.end()
            if response.on_delivered is not None and request.method == "GET":
                self._limiter.waits()
                if await self._stream.delivered(self._deadlines.delivered):
                    response.on_delivered()
            if not goes_on:
                await self._drain()
        return goes_on

    async def _drain(self) -> None:
        self._limiter.waits()
        await self._stream.drain()

    async def _send(self, response: Response, *, with_body: bool = True) -> None:
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Server", "modelarts-exporter"),
            # An answer without content has no length either: it would be read as that of the content.
            *(() if response.status == HTTPStatus.NOT_MODIFIED else _content_headers(response)),
            *response.headers.items(),
        ]
        status, reason = response.status.value, response.status.phrase.encode()
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        sent = self._http.send(h11.Response(status_code=status, reason=reason, headers=encoded))
        if with_body and response.body:
            # It only has to know the length: the body of an answer that states it stands there as it is.
            self._http.send_with_data_passthrough(h11.Data(data=cast("bytes", _Length(response.body))))
            await self._write([sent, *response.body])
            sent = b""
        await self._write([sent + self._http.send(h11.EndOfMessage())])

    async def _write(self, pieces: Sequence[bytes]) -> None:
        await self._stream.send(pieces, self._limiter.waits_for_reader)
        await asyncio.sleep(0)  # a client that takes everything at once is not the only one


def _content_headers(response: Response) -> Iterator[tuple[str, str]]:
    yield "Content-Type", response.content_type
    yield "Content-Length", str(sum(map(len, response.body)))


def _parsed(head: h11.Request) -> Request:
    try:
        return Request.parse(head.method, head.target, head.headers)
    except ValueError:
        raise _BadRequestError(HTTPStatus.BAD_REQUEST, "the address is no URL") from None


class _Length:
    """Stands for the pieces of a body where only their length matters."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._length = sum(map(len, pieces))

    def __len__(self) -> int:
        return self._length
