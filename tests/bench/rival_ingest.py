"""Reads what the exporter reads, and only decodes it: `python -m tests.bench.rival_ingest URL N`.

That is the floor of reading:
requests and json.loads, with as many threads as the exporter has: each service's update log and events in one
page. Prints one JSON object: seconds of wall time and of CPU, and the events read.
"""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests

THREADS = 8
_local = threading.local()


def get(url: str) -> dict[str, object]:
    """One JSON document, over the thread's own connection."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
    answer = _local.session.get(url, headers={"X-Auth-Token": "t", "Accept-Encoding": "gzip"}, timeout=60)
    found: dict[str, object] = json.loads(answer.content)
    return found


def main(base: str, size: int) -> None:
    """Read and print."""
    begun, cpu = time.perf_counter(), time.process_time()
    listed = get(f"{base}?limit={size}")["services"]
    assert isinstance(listed, list)

    def read(row: dict[str, str]) -> int:
        url = f"{base}/{row['service_id']}"
        get(f"{url}/logs")
        events = get(f"{url}/events?limit=1000&sort_by=occur_time&order=asc")["events"]
        assert isinstance(events, list)
        return len(events)

    with ThreadPoolExecutor(THREADS) as pool:
        count = sum(pool.map(read, listed))
    print(  # noqa: T201 - who starts it reads this
        json.dumps({"wall": time.perf_counter() - begun, "cpu": time.process_time() - cpu, "events": count})
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
