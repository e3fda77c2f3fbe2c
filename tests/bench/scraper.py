"""Scrapes pages in turn, in a process of its own: `python -m tests.bench.scraper COUNT PAUSE URL…`.

A URL with `#gzip` is asked for packed, as Prometheus does. Prints one JSON object: for each URL the seconds
from the first byte asked to the last one got.
"""

import json
import socket
import sys
import time
from urllib.parse import urlsplit


class Client:
    """One kept connection to one page."""

    def __init__(self, url: str) -> None:
        found = urlsplit(url)
        self._socket = socket.create_connection((found.hostname, found.port))
        packed = "Accept-Encoding: gzip\r\n" if found.fragment == "gzip" else ""
        self._request = f"GET {found.path} HTTP/1.1\r\nHost: x\r\n{packed}\r\n".encode()

    def scrape(self) -> tuple[float, bytes]:
        """Get the page once; the seconds that it took, and the body."""
        begun = time.perf_counter()
        self._socket.sendall(self._request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._received()
        head, _, first = head.partition(b"\r\n\r\n")
        left = int(head.lower().split(b"content-length:")[1].split()[0]) - len(first)
        parts = [first]
        while left > 0:
            parts.append(self._received())
            left -= len(parts[-1])
        return time.perf_counter() - begun, b"".join(parts)

    def _received(self) -> bytes:
        received = self._socket.recv(1 << 20)
        if not received:
            raise ConnectionError("the page ended early")
        return received


def main(count: int, pause: float, urls: list[str]) -> None:
    """Scrape and print."""
    clients = {url: Client(url) for url in urls}
    taken: dict[str, list[float]] = {url: [] for url in urls}
    for _ in range(count):
        for url, client in clients.items():
            seconds, _ = client.scrape()
            taken[url].append(seconds)
            time.sleep(pause)
    print(json.dumps(taken))  # noqa: T201 - who starts it reads this


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
