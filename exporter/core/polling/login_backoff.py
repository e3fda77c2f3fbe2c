"""When a refused credential may be tried again, so that the cloud never locks it.

The cloud locks an access key for five minutes after five bad signatures in a row (API Gateway, User Guide,
"Error Codes", APIG.0301), and a user after as many wrong passwords (IAM, User Guide, "Login Authentication
Policy"). Times are integer milliseconds of any clock that never steps back.
"""

from dataclasses import dataclass, replace

FIRST_WAIT_MS = 2_000  # long enough for a secret that is just being replaced
LONGEST_WAIT_MS = 300_000  # the length of the lock: waiting longer gains nothing
WINDOW_MS = 300_000
MOST_IN_WINDOW = 4  # the fifth one locks

# A gateway checks a credential before it forwards a request, so a refusal is back after one round trip, which
# takes less than this also between continents. A request that is out for longer waits for the service.
REFUSED_WITHIN_MS = 250


@dataclass(frozen=True, slots=True)
class LoginBackoff:
    """The refusals of one secret; every change gives a new value.

    Args:
        times: when it was refused, oldest first; the last `MOST_IN_WINDOW` at most.
        in_a_row: how often since it was last accepted.

    """

    times: tuple[int, ...] = ()
    in_a_row: int = 0

    def refused(self, now: int) -> "LoginBackoff":
        """The cloud said no at `now`."""
        return replace(self, times=(*self.times, now)[-MOST_IN_WINDOW:], in_a_row=self.in_a_row + 1)

    def locked(self, now: int) -> "LoginBackoff":
        """The cloud said that the credential is locked: as if all tries of a window had been used."""
        return LoginBackoff(times=(now,) * MOST_IN_WINDOW, in_a_row=self.in_a_row + MOST_IN_WINDOW)

    def forgiven(self) -> "LoginBackoff":
        """It was accepted, or somebody asks for a try: only a full window is still waited for."""
        return replace(self, in_a_row=0)

    def next_try(self) -> int | None:
        """When it may be tried again; None: it is not refused."""
        # The shift is bounded because 2 s doubled eight times is already more than the longest wait.
        wait = min(LONGEST_WAIT_MS, FIRST_WAIT_MS << min(self.in_a_row - 1, 8)) if self.in_a_row else 0
        if len(self.times) == MOST_IN_WINDOW:
            # The window is closed at both ends: one millisecond more, and the oldest has left it.
            return max(self.times[-1] + wait, self.times[0] + WINDOW_MS + 1)
        return self.times[-1] + wait if self.in_a_row else None

    def room(self, now: int) -> int:
        """How many requests may be out of which each might be refused; 0: none yet.

        A secret that is not refused may be shown as often as the window still allows; one that is refused
        is tried by a single request once its time has come.
        """
        due = self.next_try()
        if due is not None and now < due:
            return 0
        if self.in_a_row:
            return 1
        return MOST_IN_WINDOW - sum(time >= now - WINDOW_MS for time in self.times)
