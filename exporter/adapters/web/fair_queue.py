"""Who is next where many wait for one worker: who has used it least, so that no client keeps others out."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

# Clients whose turns are remembered, some 100 bytes each; beyond that all are equal again.
_MOST_REMEMBERED = 10_000


class _Waiter(NamedTuple):
    client: str
    turn: asyncio.Future[bool]  # its result: True it has come, False it will not


class FairQueue:
    """Requests that wait for one worker, by client; one event loop uses it.

    The client that had the fewest turns goes first; among equals, who came first. One more than `most`, with
    the one that has its turn, sends away the newest request of the client that had and waits for the most
    turns. They are forgotten as soon as nobody waits.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._busy = False
        self._waiting: list[_Waiter] = []  # in the order in which they came
        self._turns: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[bool]:
        """Have the worker for as long as this is entered; False: it cannot be had, too many wait for it."""
        waiter = _Waiter(client, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        if not self._busy:
            self._next()
        elif len(self._waiting) >= self._most:
            self._send_one_away()
        try:
            yield await waiter.turn
        finally:
            if waiter in self._waiting:  # its client has gone
                self._waiting.remove(waiter)
            elif waiter.turn.result():
                self._next()

    def _next(self) -> None:
        waiting = [waiter for waiter in self._waiting if not waiter.turn.cancelled()]
        self._busy = bool(waiting)
        if not waiting or len(self._turns) > _MOST_REMEMBERED:
            self._turns.clear()
        if waiting:
            first = min(waiting, key=lambda waiter: self._turns[waiter.client])
            self._turns[first.client] += 1
            self._end(first, has_turn=True)

    def _send_one_away(self) -> None:
        load = self._turns + Counter(waiter.client for waiter in self._waiting)
        busiest = max(reversed(self._waiting), key=lambda waiter: load[waiter.client])
        self._end(busiest, has_turn=False)

    def _end(self, waiter: _Waiter, *, has_turn: bool) -> None:
        self._waiting.remove(waiter)
        waiter.turn.set_result(has_turn)
