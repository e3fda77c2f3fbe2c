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


@dataclass(frozen=True, slots=True)
class LoginBackoff:
    """The refusals of one secret since it was last accepted; every change gives a new value.

    Args:
        times: when it was refused, oldest first; the last `MOST_IN_WINDOW` at most.
        in_a_row: how often altogether.

    """

    times: tuple[int, ...] = ()
    in_a_row: int = 0

    def refused(self, now: int) -> "LoginBackoff":
        """The cloud said no at `now`."""
        return replace(self, times=(*self.times, now)[-MOST_IN_WINDOW:], in_a_row=self.in_a_row + 1)

    def locked(self, now: int) -> "LoginBackoff":
        """The cloud said that the credential is locked: as if all tries of a window had been used."""
        return LoginBackoff(times=(now,) * MOST_IN_WINDOW, in_a_row=self.in_a_row + MOST_IN_WINDOW)

    def next_try(self) -> int | None:
        """When it may be tried again; None: it is not refused."""
        if not self.times:
            return None
        # The shift is bounded because 2 s doubled eight times is already more than the longest wait.
        wait = min(LONGEST_WAIT_MS, FIRST_WAIT_MS << min(self.in_a_row - 1, 8))
        due = self.times[-1] + wait
        if len(self.times) == MOST_IN_WINDOW:
            # The window is closed at both ends: one millisecond more, and the oldest has left it.
            due = max(due, self.times[0] + WINDOW_MS + 1)
        return due

    def room(self, now: int) -> int:
        """How many requests may be in flight at once, all of which might be refused; 0: not yet.

        A credential that is not refused may have as many as a window allows; one that is refused is
        tried by a single request once its time has come.
        """
        due = self.next_try()
        if due is None:
            return MOST_IN_WINDOW
        return 1 if now >= due else 0
