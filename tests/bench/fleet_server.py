"""A project with very many services, in a process of its own: `python -m tests.bench.fleet_server`.

The emulator keeps every entry as a Python value and signs in, throttles and fails like the cloud. This server
does none of that: it makes each body when it is asked for, so that 100,000 services fit in little memory and
what is measured is the exporter, not the server. Fields are those of the API; any credential is accepted.

It prints its address on the first line. `POST /bench?changes=20` makes so many services a second deploy;
`GET /bench` tells what was asked so far.
"""

import argparse
import asyncio
import json
import random
import time
import uuid
from collections import Counter
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

DAY_MS = 86_400_000
# What a deployment that goes well writes to the event log; texts as the API's documentation has them.
STEPS = (
    "start to deploy service",
    "[{name} 0.0.1] prepare environment success",
    "[{name} 0.0.1] schedule resource success",
    "[{name} 0.0.1] pull image success",
    "[{name} 0.0.1] start model success",
    "deploy service success",
)
UPDATES = 3  # in the log of every service at the start


class Fleet:
    """Services by number; what happens to one after the start is kept, everything else is computed.

    Args:
        size: how many services there are.
        events: how many events each has at the start.
        first_events: how many the first one has.

    """

    def __init__(self, size: int, events: int, first_events: int) -> None:
        chance = random.Random(1)
        self.size, self._events, self._first_events = size, events, first_events
        self.ids = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(size)]
        self.numbers = {service_id: number for number, service_id in enumerate(self.ids)}
        self._started = int(time.time() * 1000)
        self._deployments: dict[int, list[tuple[int, str]]] = {}  # begun and result, of those after the start
        self._calls: Counter[int] = Counter()
        self._rows: dict[int, bytes] = {}
        self._pages: dict[tuple[int, int], bytes] = {}
        self._chance = random.Random(2)

    def deploy_one(self) -> None:
        """Some service is deployed: its row, its update log and its event log change."""
        number = self._chance.randrange(self.size)
        result = "FAIL" if self._chance.random() < 0.1 else "SUCCESS"
        self._deployments.setdefault(number, []).append((int(time.time() * 1000), result))
        self._calls[number] += self._chance.randrange(1000)
        self._rows.pop(number, None)
        self._pages = {key: page for key, page in self._pages.items() if not key[0] <= number < key[1]}

    def list_page(self, limit: int, page: int) -> bytes:
        """A page of the list; `offset` counts pages."""
        begin, end = page * limit, min((page + 1) * limit, self.size)
        if (begin, end) not in self._pages:
            rows = b",".join(self.row(number) for number in range(begin, end))
            head = b'{"total_count":%d,"count":%d,"services":[' % (self.size, max(end - begin, 0))
            self._pages[begin, end] = head + rows + b"]}"
        return self._pages[begin, end]

    def row(self, number: int) -> bytes:
        """A row of the list."""
        if number not in self._rows:
            changed, result = self._deployments.get(number, [(self._created(number), "SUCCESS")])[-1]
            row: dict[str, Any] = {
                "service_id": self.ids[number],
                "service_name": self._name(number),
                "description": "",
                "tenant": "bench",
                "project": "0" * 32,
                "owner": "bench",
                "infer_type": "real-time",
                "status": "failed" if result == "FAIL" else "running",
                "progress": 100,
                "publish_at": self._created(number),
                "transition_at": changed,
                "operation_time": changed,
                "invocation_times": self._calls[number],
                "failed_times": 0,
                "is_shared": False,
                "shared_count": 0,
                "is_free": False,
                "workspace_id": "0",
                "is_opened_sample_collection": False,
                "additional_properties": {},
            }
            self._rows[number] = json.dumps(row).encode()
        return self._rows[number]

    def _name(self, number: int) -> str:
        return f"recommender-{number}-canary"

    def _created(self, number: int) -> int:
        # The logs of all lie in the last twenty days, which is less than the cloud keeps.
        return self._started - 20 * DAY_MS + number % 1000

    def log(self, number: int) -> bytes:
        """The update log, newest first."""
        config = {
            "model_id": str(uuid.UUID(int=number)),
            "model_name": self._name(number),
            "model_version": "0.0.1",
            "specification": "modelarts.vm.cpu.2u",
            "custom_spec": {},
            "weight": 100,
            "instance_count": 1,
            "scaling": False,
            "envs": {},
        }
        past = [(self._created(number) + k * 3_600_000, "SUCCESS") for k in range(UPDATES)]
        rows = [
            {"update_time": at, "result": result, "config": [config]}
            for at, result in reversed(past + self._deployments.get(number, []))
        ]
        document = {"service_id": self.ids[number], "service_name": self._name(number), "logs": rows}
        return json.dumps(document).encode()

    def events(self, number: int, start: int, limit: int) -> bytes:
        """A page of the event log, oldest first, from `start` (ms) on."""
        count = self._first_events if number == 0 else self._events
        created, step = self._created(number), (19 * DAY_MS) // max(count, 1)
        skipped = min(max(-(-(start - created) // step), 0), count)
        new = [
            (at + k, text)
            for at, _ in self._deployments.get(number, [])
            for k, text in enumerate(STEPS)
            if at + k >= start
        ]
        rows = [
            self._event(number, created + k * step, STEPS[k % len(STEPS)])
            for k in range(skipped, min(skipped + limit, count))
        ]
        rows += [self._event(number, at, text) for at, text in new][: limit - len(rows)]
        head = (
            f'{{"service_id":"{self.ids[number]}","service_name":"{self._name(number)}",'
            f'"total_count":{count - skipped + len(new)},"count":{len(rows)},"events":['
        )
        return (head + ",".join(rows) + "]}").encode()

    def _event(self, number: int, at: int, text: str) -> str:
        info = text.replace("{name}", self._name(number))
        return f'{{"occur_time":{at},"event_type":"normal","event_info":"{info}"}}'


class Server(asyncio.Protocol):
    """Answers the requests of one connection."""

    def __init__(self, fleet: Fleet, counts: Counter[str], changes: list[float]) -> None:
        self._fleet, self._counts, self._changes = fleet, counts, changes
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a request once its head is there; none of them has a body."""
        self._received += data
        if not self._received.endswith(b"\r\n\r\n"):
            return
        method, target, _ = self._received.decode("latin-1").split(" ", 2)
        self._received = b""
        found = urlsplit(target)
        body = self._answer(method, found.path.split("/")[1:], dict(parse_qsl(found.query)))
        head = (
            f"HTTP/1.1 200 OK\r\nDate: {formatdate(usegmt=True)}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)

    def _answer(self, method: str, path: list[str], query: dict[str, str]) -> bytes:
        if path == ["bench"]:
            if method == "POST":
                self._changes[0] = float(query["changes"])
            return json.dumps(self._counts).encode()
        kind = path[4] if len(path) > 4 else ("detail" if len(path) > 3 else "list")
        self._counts[kind] += 1
        if kind == "list":
            return self._fleet.list_page(int(query["limit"]), int(query.get("offset", 0)))
        number = self._fleet.numbers[unquote(path[3])]
        if kind == "detail":
            return self._fleet.row(number)
        if kind == "logs":
            return self._fleet.log(number)
        return self._fleet.events(number, int(query.get("start_time", 0)), int(query["limit"]))


async def main(fleet: Fleet, port: int) -> None:
    """Serve until ended."""
    counts: Counter[str] = Counter()
    changes = [0.0]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(fleet, counts, changes), "127.0.0.1", port)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)  # noqa: T201 - who starts it reads this
    due = 0.0
    while True:
        await asyncio.sleep(0.1)
        due += changes[0] * 0.1
        while due >= 1:
            fleet.deploy_one()
            due -= 1


def parsed() -> Any:
    """The command line."""
    parser = argparse.ArgumentParser(description="Serve a large project.")
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=6, help="of each service")
    parser.add_argument("--first-events", type=int, default=None, help="of the first service")
    parser.add_argument("--port", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    options = parsed()
    first = options.events if options.first_events is None else options.first_events
    asyncio.run(main(Fleet(options.services, options.events, first), options.port))
