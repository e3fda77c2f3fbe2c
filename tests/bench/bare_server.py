"""Sends the same bytes to everyone, in a process of its own: `python -m tests.bench.bare_server FILE`.

That is the floor of a scrape. It prints its address on the first line.
"""

import socket
import sys
import threading
from pathlib import Path


def serve(client: socket.socket, answer: bytes) -> None:
    """Answer the requests of one connection; each fits into one packet."""
    with client:
        while client.recv(65536):
            client.sendall(answer)


def main(file: Path) -> None:
    """Serve until ended."""
    body = file.read_bytes()
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        print(f"http://{host}:{port}", flush=True)  # noqa: T201 - who starts it reads this
        while True:
            client, _ = listening.accept()
            threading.Thread(target=serve, args=(client, answer), daemon=True).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
