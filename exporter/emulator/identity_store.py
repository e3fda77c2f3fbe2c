"""The users, tokens and access keys of the emulated cloud; wrong tries lock a user or a key for a while."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

DEFAULT_USER = "exporter"
DEFAULT_PASSWORD = "emulator"  # noqa: S105 - it opens nothing but this emulator
DEFAULT_DOMAIN = "OTC00000000001"
DEFAULT_ACCESS_KEY = "EMULATORACCESSKEY"
DEFAULT_SECRET_KEY = "emulator-secret-key"  # noqa: S105 - likewise

# IAM locks a user for 15 minutes after five wrong passwords (IAM User Guide, Login Authentication Policy).
# The gateway locks an access key for five minutes after five wrong signatures (API Gateway User Guide, FAQs,
# Common Errors Related to IAM Authentication Information).
WRONG_TRIES_BEFORE_LOCK = 5
USER_LOCK_MS = 15 * 60_000
KEY_LOCK_MS = 5 * 60_000


@dataclass
class Lockout:
    """Counts wrong tries in a row. After too many of them, every try is refused for `lock_ms`."""

    lock_ms: int
    wrong_tries: int = 0
    locked_until: int = 0

    def is_locked(self, now: int) -> bool:
        """Whether every try is refused at `now` (ms)."""
        return now < self.locked_until

    def count(self, now: int, *, right: bool) -> None:
        """Count one try at `now` (ms)."""
        self.wrong_tries = 0 if right else self.wrong_tries + 1
        if self.wrong_tries >= WRONG_TRIES_BEFORE_LOCK:
            self.wrong_tries = 0
            self.locked_until = now + self.lock_ms


@dataclass
class User:
    """A user of a domain. `projects` are those that the user may use; None means all."""

    user_id: str
    name: str
    password: str
    domain: str
    projects: frozenset[str] | None = None
    lockout: Lockout = field(default_factory=lambda: Lockout(USER_LOCK_MS))


@dataclass(frozen=True)
class Token:
    """A token. `project_id` is None for a token of the whole domain. Times in ms."""

    value: str
    user_id: str
    project_id: str | None
    issued_at: int
    expires_at: int


@dataclass
class AccessKey:
    """An access key. A temporary one has a security token and ends at `expires_at` (ms)."""

    access: str
    secret: str
    user_id: str
    security_token: str | None = None
    expires_at: int | None = None
    lockout: Lockout = field(default_factory=lambda: Lockout(KEY_LOCK_MS))


class IdentityStore:
    """All users, tokens and keys. Not thread-safe: callers hold the lock of the `Cloud`."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.keys: dict[str, AccessKey] = {}
        self.tokens: dict[str, Token] = {}
        self._issued = 0

    def add_user(self, name: str, password: str, domain: str, projects: Sequence[str] | None = None) -> str:
        """Add a user of `projects` (None: of all), or replace the one of this name; returns its id."""
        user_id = hashlib.sha256(f"{domain}/{name}".encode()).hexdigest()[:32]
        allowed = None if projects is None else frozenset(projects)
        self.users[user_id] = User(user_id, name, password, domain, allowed)
        return user_id

    def add_key(
        self, access: str, secret: str, security_token: str | None = None, expires_at: int | None = None
    ) -> None:
        """Add an access key of the default user."""
        user = self.find_user(name=DEFAULT_USER, domain=DEFAULT_DOMAIN)
        assert user is not None
        self.keys[access] = AccessKey(access, secret, user.user_id, security_token, expires_at)

    def find_user(
        self, *, name: str | None = None, domain: str | None = None, user_id: str | None = None
    ) -> User | None:
        """The user with this id, or with this name in this domain; None if there is none."""
        if user_id is not None:
            return self.users.get(user_id)
        return next((u for u in self.users.values() if u.name == name and domain in (u.domain, None)), None)

    def issue(self, user_id: str, project_id: str | None, now: int, life: int) -> Token:
        """A new token that is valid for `life` ms.

        Older tokens stay valid (IAM API Reference, Obtaining a User Token Through Password Authentication).
        """
        self.tokens = {value: token for value, token in self.tokens.items() if token.expires_at > now}
        self._issued += 1
        # The same in every run, and about as long as a short real token.
        digest = hashlib.sha512(f"{user_id}/{project_id}/{self._issued}".encode()).hexdigest()
        token = Token(f"MIIE{digest * 2}", user_id, project_id, now, now + life)
        self.tokens[token.value] = token
        return token
