"""Who is connected, and who has to go when there are too many."""

import asyncio

Task = asyncio.Task[None]


class ConnectionLimiter:
    """The connections that are open, each by its task; one event loop uses it.

    A connection waits for a request, or is worked for, or waits until its client has read what was sent. One
    more than `most` takes the place of the one that has waited for a request the longest; where none does, of
    the one whose client has read nothing for the longest. One more than `most_unread` takes the place of the
    latter too: a client that reads goes on, and one that does not keeps no page in memory.
    """

    def __init__(self, most: int, most_unread: int) -> None:
        self._most = most
        self._most_unread = most_unread
        self.open: set[Task] = set()
        # In the order in which they came here; a dict finds, removes and keeps that order.
        self._waiting: dict[Task, None] = {}
        self._unread: dict[Task, None] = {}

    def admit(self) -> bool:
        """Make room for one more; False: every one of them is being worked for."""
        return len(self.open) < self._most or self.drop_one()

    def drop_one(self) -> bool:
        """End the connection that is missed least; False: there is none."""
        oldest = next(iter(self._waiting or self._unread), None)
        if oldest is not None:
            self._end(oldest)
        return oldest is not None

    def make_room(self) -> None:
        """End a quarter of the connections, so that there is room for a while, and one at least."""
        for _ in range(len(self.open) // 4 + 1):
            self.drop_one()

    def drop_waiting(self) -> None:
        """End all for which there is nothing to do."""
        for task in list(self._waiting):
            self._end(task)

    def drop_all(self) -> None:
        """End all."""
        for task in self.open:
            task.cancel()

    def enter(self, task: Task) -> None:
        """A connection was accepted; it leaves when its task is done."""
        self.open.add(task)
        task.add_done_callback(self._leave)

    def waits(self) -> None:
        """The task that calls this waits for a request, from now on."""
        task = self._moving()
        self._waiting[task] = None

    def works(self) -> None:
        """The task that calls this has a request to answer."""
        self._moving()

    def waits_for_reader(self) -> None:
        """The task that calls this goes on with its answer when the client has read some of it."""
        task = self._moving()
        self._unread[task] = None
        if len(self._unread) > self._most_unread:
            self._end(next(iter(self._unread)))

    def _moving(self) -> Task:
        task = asyncio.current_task()
        assert task is not None
        self._waiting.pop(task, None)
        self._unread.pop(task, None)
        return task

    def _end(self, task: Task) -> None:
        self._waiting.pop(task, None)
        self._unread.pop(task, None)
        task.cancel()

    def _leave(self, task: Task) -> None:
        self.open.discard(task)
        self._waiting.pop(task, None)
        self._unread.pop(task, None)
