"""How often a credential may be shown to the cloud: so that it is never locked, by any thread or project.

At any time, the refusals of the last five minutes and the requests that may still be refused are four at
most, because five lock a credential. While it is not known whether a secret is right, every request that is
out may be refused. Once it was accepted, only those may be that went out within the time that a refusal
takes: should the secret be revoked, the ones before were let through already. So a slow endpoint keeps nobody
else waiting, and as many requests can be out as `concurrency` says. Only a cloud that takes longer than that
to refuse can be shown a revoked secret more often; to lock a secret that is of no more use does no harm.
"""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from exporter.adapters.modelarts.rate_limiter import monotonic_ms
from exporter.core.polling.login_backoff import REFUSED_WITHIN_MS, WINDOW_MS, LoginBackoff
from exporter.core.source import Refused


@dataclass(slots=True)
class _State:
    """What is known of one secret; owned by the limiter, changed under its lock."""

    backoff: LoginBackoff = field(default_factory=LoginBackoff)
    sent_at: list[int] = field(default_factory=list)  # of the requests that are out, oldest first
    accepted_at: int | None = None  # None: not since the last refusal
    generation: int = 0  # how often it was refused, ever
    message: str = ""  # of the last refusal

    def accepted_lately(self, now: int) -> bool:
        """Whether the cloud took it within five minutes, and has not refused it since."""
        return self.accepted_at is not None and now - self.accepted_at <= WINDOW_MS

    def undecided(self, now: int) -> list[int]:
        """Of `sent_at`, those that may still be refused."""
        if not self.accepted_lately(now):
            return self.sent_at
        return [at for at in self.sent_at if now - at < REFUSED_WITHIN_MS]


class Permit:
    """The right to show a secret to the cloud once.

    `sent_at`: since when, in ms; None: it is not one of those that are counted while they are out.
    """

    def __init__(self, limiter: "LoginLimiter", state: _State, sent_at: int | None) -> None:
        self._limiter = limiter
        self._state = state
        self._sent_at = sent_at
        self._judged = False
        self._generation = state.generation

    def release(self) -> None:
        """The request is over; may be called more than once."""
        with self._limiter.changed:
            if self._sent_at is not None:
                self._state.sent_at.remove(self._sent_at)
                self._sent_at = None
                self._limiter.changed.notify_all()

    def accepted(self) -> None:
        """The cloud took it: nothing is waited for, unless a refusal came after this permit was given."""
        with self._limiter.changed:
            if self._generation == self._state.generation:
                self._state.backoff = self._state.backoff.forgiven()
                self._state.accepted_at = self._limiter.clock()
                self._limiter.changed.notify_all()

    def refused(self, message: str, *, locked: bool = False) -> None:
        """The cloud said no, or even that it is locked; counts once, however many requests used it."""
        with self._limiter.changed:
            if self._judged:
                return
            self._judged = True
            now = self._limiter.clock()
            backoff = self._state.backoff
            self._state.backoff = backoff.locked(now) if locked else backoff.refused(now)
            self._state.accepted_at = None
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
        """A permit to show the secret now; waits while too many others are out that may be refused.

        Raises `Refused` at once, with the last refusal and the time of the next try, while that is
        not due, or is just being made.
        """
        with self.changed:
            while (permit := self.enter_now(secret)) is None:
                # Without an acceptance only an answer decides; with one, time does too.
                state, now = self._state(secret), self.clock()
                oldest = min(state.undecided(now), default=now)
                wait = (oldest + REFUSED_WITHIN_MS - now) / 1000 if state.accepted_lately(now) else None
                self.changed.wait(wait)
            return permit

    def enter_now(self, secret: str) -> Permit | None:
        """The same, but None where `enter` would wait."""
        with self.changed:
            state, now = self._state(secret), self.clock()
            out = len(state.undecided(now))
            self._check(state, now, out)
            if out >= state.backoff.room(now):
                return None
            state.sent_at.append(now)
            return Permit(self, state, now)

    def watch(self, secret: str) -> Permit:
        """A permit that is not counted: of a secret that nobody locks, such as a token. Raises `Refused`."""
        with self.changed:
            state, now = self._state(secret), self.clock()
            self._check(state, now, len(state.sent_at))
            return Permit(self, state, None)

    def retry_now(self) -> None:
        """Let each secret be tried at once, as after a reload; no fifth time in five minutes even then."""
        with self.changed:
            for state in self._states.values():
                state.backoff = state.backoff.forgiven()
            self.changed.notify_all()

    def _state(self, secret: str) -> _State:
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        for other, state in list(self._states.items()):
            if other != digest and not state.sent_at and not state.backoff.times:
                del self._states[other]
        return self._states.setdefault(digest, _State())

    def _check(self, state: _State, now: int, out: int) -> None:
        """Raise `Refused` where the next try is not due, or is just being made."""
        due = state.backoff.next_try()
        if due is not None and due > now:
            raise Refused(state.message, f"The next try is in {-(-(due - now) // 1000)} s.")
        if state.backoff.in_a_row and out:
            raise Refused(state.message, "The next try is being made.")
