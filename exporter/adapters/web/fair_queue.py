"""Who is next where many wait for few workers: who has used them least, so that nobody keeps others out."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

# Clients whose turns are remembered, some 100 bytes each; beyond that all are equal again.
_MOST_REMEMBERED = 10_000
# A network of IPv6 at one place has 2^64 addresses (RFC 4291, section 2.5.1): all of them are one client.
_INTERFACE_BITS = 64


class _Waiter(NamedTuple):
    client: str
    turn: asyncio.Future[bool]  # its result: True it has come, False it will not


class FairQueue:
    """Requests that wait for a worker, by client; one event loop uses it.

    The client that had the fewest turns goes first; among equals, who came first. Turns are forgotten as soon
    as nobody waits.

    Args:
        workers: how many requests have their turn at the same time.
        most: how many have it or wait. One more sends away, of those that wait, the newest of the client that
            had and waits for the most turns.

    """

    def __init__(self, workers: int, most: int) -> None:
        self._workers, self._most = workers, most
        self._busy = 0
        self._waiting: list[_Waiter] = []  # in the order in which they came
        self._turns: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[bool]:
        """Have a worker for as long as this is entered; False: none can be had, too many wait."""
        waiter = _Waiter(client, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        if self._busy < self._workers:
            self._next()
        elif self._busy + len(self._waiting) > self._most:
            self._send_one_away()
        try:
            yield await waiter.turn
        finally:
            if waiter in self._waiting:  # its client has gone
                self._waiting.remove(waiter)
            elif waiter.turn.result():
                self._busy -= 1
                self._next()

    def _next(self) -> None:
        waiting = self._still_waiting()
        if not waiting or len(self._turns) > _MOST_REMEMBERED:
            self._turns.clear()
        if waiting:
            first = min(waiting, key=lambda waiter: self._turns[waiter.client])
            self._turns[first.client] += 1
            self._busy += 1
            self._end(first, has_turn=True)

    def _send_one_away(self) -> None:
        waiting = self._still_waiting()
        load = self._turns + Counter(waiter.client for waiter in waiting)
        busiest = max(reversed(waiting), key=lambda waiter: load[waiter.client])
        self._end(busiest, has_turn=False)

    def _still_waiting(self) -> list[_Waiter]:
        """Without those whose client has gone at this moment, which leave the queue themselves."""
        return [waiter for waiter in self._waiting if not waiter.turn.cancelled()]

    def _end(self, waiter: _Waiter, *, has_turn: bool) -> None:
        self._waiting.remove(waiter)
        waiter.turn.set_result(has_turn)


def client_of(address: str) -> str:
    """Whom an IP address belongs to, as far as it tells."""
    found = ip_address(address)
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped is not None:  # a client of IPv4, at a socket that serves both
        return str(found.ipv4_mapped)
    return str(int(found) >> _INTERFACE_BITS)
