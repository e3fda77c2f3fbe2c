"""Who may ask: users with passwords, their tokens, and access keys, with the lock-outs of the real cloud."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

DEFAULT_USER = "exporter"
DEFAULT_PASSWORD = "emulator"  # noqa: S105 - it opens nothing but this emulator
DEFAULT_DOMAIN = "OTC00000000001"
DEFAULT_ACCESS_KEY = "EMULATORACCESSKEY"
DEFAULT_SECRET_KEY = "emulator-secret-key"  # noqa: S105 - likewise

# IAM locks a user after five wrong passwords for a quarter of an hour; the gateway locks an
# access key after five wrong signatures for five minutes.
WRONG_BEFORE_LOCK = 5
USER_LOCK_MS = 15 * 60_000
KEY_LOCK_MS = 5 * 60_000


@dataclass
class Lock:
    """Counts wrong tries in a row; too many lock for a while."""

    lock_ms: int
    wrong: int = 0
    until: int = 0

    def locked(self, now: int) -> bool:
        """Whether every try is refused at `now` (ms)."""
        return now < self.until

    def count(self, now: int, *, right: bool) -> None:
        """Remember one try."""
        self.wrong = 0 if right else self.wrong + 1
        if self.wrong >= WRONG_BEFORE_LOCK:
            self.wrong = 0
            self.until = now + self.lock_ms


@dataclass
class User:
    """A user of a domain; may enter every project unless `projects` names some."""

    user_id: str
    name: str
    password: str
    domain: str
    projects: frozenset[str] | None = None
    lock: Lock = field(default_factory=lambda: Lock(USER_LOCK_MS))


@dataclass(frozen=True)
class Token:
    """A token; `project_id` is None where it was asked for the domain. Times in ms."""

    value: str
    user_id: str
    project_id: str | None
    issued_at: int
    expires_at: int


@dataclass
class AccessKey:
    """An access key; a temporary one has a security token and an end (ms)."""

    access: str
    secret: str
    user_id: str
    security_token: str | None = None
    expires_at: int | None = None
    lock: Lock = field(default_factory=lambda: Lock(KEY_LOCK_MS))


class Identity:
    """All users, tokens and keys. Not thread-safe: the cloud's lock guards it."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.keys: dict[str, AccessKey] = {}
        self.tokens: dict[str, Token] = {}
        self._issued = 0

    def add_user(self, name: str, password: str, domain: str, projects: Sequence[str] | None = None) -> str:
        """A user, who may enter every project unless `projects` names some; gives the user's id."""
        user_id = hashlib.sha256(f"{domain}/{name}".encode()).hexdigest()[:32]
        allowed = None if projects is None else frozenset(projects)
        self.users[user_id] = User(user_id, name, password, domain, allowed)
        return user_id

    def add_key(
        self, access: str, secret: str, security_token: str | None = None, expires_at: int | None = None
    ) -> None:
        """A key of the default user."""
        user = self.find_user(name=DEFAULT_USER, domain=DEFAULT_DOMAIN)
        assert user is not None
        self.keys[access] = AccessKey(access, secret, user.user_id, security_token, expires_at)

    def find_user(
        self, *, name: str | None = None, domain: str | None = None, user_id: str | None = None
    ) -> User | None:
        """The user with this id, or with this name in this domain."""
        if user_id is not None:
            return self.users.get(user_id)
        return next((u for u in self.users.values() if u.name == name and domain in (u.domain, None)), None)

    def issue(self, user_id: str, project_id: str | None, now: int, life: int) -> Token:
        """A new token; older ones stay valid, as in IAM."""
        self.tokens = {value: token for value, token in self.tokens.items() if token.expires_at > now}
        self._issued += 1
        # Reproducible on purpose, and about as long as a short real one.
        digest = hashlib.sha512(f"{user_id}/{project_id}/{self._issued}".encode()).hexdigest()
        token = Token(f"MIIE{digest * 2}", user_id, project_id, now, now + life)
        self.tokens[token.value] = token
        return token
