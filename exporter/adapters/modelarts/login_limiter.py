"""The guard of one credential: it keeps threads and projects from having it locked by the cloud."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from exporter.adapters.modelarts.rate_limiter import monotonic_ms
from exporter.core.polling.login_backoff import LoginBackoff
from exporter.core.source import Refused


@dataclass(slots=True)
class _State:
    """What is known of one secret; owned by the guard, changed under its lock."""

    refusals: LoginBackoff = field(default_factory=LoginBackoff)
    in_flight: int = 0
    generation: int = 0  # how often it was refused, ever
    message: str = ""  # of the last refusal


class Permit:
    """The right to show a secret to the cloud once."""

    def __init__(self, limiter: "LoginLimiter", state: _State, *, counted: bool) -> None:
        self._limiter = limiter
        self._state = state
        self._counted = counted
        self._judged = False
        self._generation = state.generation

    def release(self) -> None:
        """The request is over; may be called more than once."""
        with self._limiter.changed:
            if self._counted:
                self._counted = False
                self._state.in_flight -= 1
                self._limiter.changed.notify_all()

    def accepted(self) -> None:
        """The cloud took it: earlier refusals are forgotten, unless one came after this permit was given."""
        with self._limiter.changed:
            if self._generation == self._state.generation:
                self._state.refusals = LoginBackoff()
                self._limiter.changed.notify_all()

    def refused(self, message: str, *, locked: bool = False) -> None:
        """The cloud said no, or even that it is locked; counts once, however many requests used it."""
        with self._limiter.changed:
            if self._judged:
                return
            self._judged = True
            now = self._limiter.clock()
            refusals = self._state.refusals
            self._state.refusals = refusals.locked(now) if locked else refusals.refused(now)
            self._state.generation += 1
            self._state.message = message
            self._limiter.changed.notify_all()


class LoginLimiter:
    """Shared by everything that signs in as the same user, or signs with the same key.

    A changed secret is a new one and starts without refusals; those of the old one stay known,
    should it come back.

    Args:
        clock: milliseconds of a clock that never steps back.

    """

    def __init__(self, clock: Callable[[], int] = monotonic_ms) -> None:
        self.clock = clock
        self.changed = threading.Condition()
        self._states: dict[bytes, _State] = {}

    def enter(self, secret: str) -> Permit:
        """A permit to show the secret; waits while too many others are out whose outcome is open.

        Raises `Refused` at once, with the last refusal and the time of the next try, while that is
        not due, or is just being made.
        """
        with self.changed:
            while True:
                state = self._state(secret)
                if state.in_flight < self._room(state):
                    state.in_flight += 1
                    return Permit(self, state, counted=True)
                self.changed.wait()

    def watch(self, secret: str) -> Permit:
        """The same for a secret that nobody locks, such as a token: any number may be out."""
        with self.changed:
            state = self._state(secret)
            self._room(state)
            return Permit(self, state, counted=False)

    def retry_now(self) -> None:
        """Do not wait for the next try, as after a reload; no more tries in a window than before."""
        with self.changed:
            for state in self._states.values():
                state.refusals = state.refusals.hurried()
            self.changed.notify_all()

    def _state(self, secret: str) -> _State:
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        for other, state in list(self._states.items()):
            if other != digest and not state.in_flight and not state.refusals.times:
                del self._states[other]
        return self._states.setdefault(digest, _State())

    def _room(self, state: _State) -> int:
        now = self.clock()
        room = state.refusals.room(now)
        due = state.refusals.next_try()
        if due is not None and state.in_flight >= room:
            when = f"in {-(-(due - now) // 1000)} s" if due > now else "being made"
            raise Refused(f"{state.message} The next try is {when}.")
        return room
