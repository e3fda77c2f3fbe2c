"""Basic authentication against bcrypt hashes, without paying for bcrypt at every scrape."""

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

import bcrypt

from exporter.adapters.web.fair_queue import FairQueue

# Passwords that wait to be checked, some 2 s of work: who guesses many at once does not hold a connection for
# each of them.
_MOST_WAITING = 16
# bcrypt reads no more, and this library refuses what others cut off.
_BCRYPT_BYTES = 72


class PasswordChecker:
    """Checks passwords, one at a time, and remembers those that were right; one event loop asks."""

    def __init__(self) -> None:
        # A hash costs 50 to 200 ms by design; a password that was right once is known by its SHA-256.
        self._right: dict[bytes, bytes] = {}
        # One at a time: guessing passwords may keep one core and one thread busy, never all.
        self._queue = FairQueue(1, _MOST_WAITING)

    async def is_right(self, password: bytes, hashed: bytes, client: str) -> bool | None:
        """Whether this is the password; None: too many of this client's wait to be checked."""
        digest = hashlib.sha256(password).digest()
        if self._is_known(digest, hashed):
            return True
        async with self._queue.turn(client) as has_turn:
            if not has_turn:
                return None
            if not self._is_known(digest, hashed):  # it may be by now
                if not await asyncio.to_thread(bcrypt.checkpw, password[:_BCRYPT_BYTES], hashed):
                    return False
                self._right[hashed] = digest
        return True

    def _is_known(self, digest: bytes, hashed: bytes) -> bool:
        return hmac.compare_digest(self._right.get(hashed, b""), digest)


class BasicAuth:
    """Decides who may come in; one event loop asks.

    Args:
        users: bcrypt hash by user name; without any, everyone may.
        checker: of their passwords; a user whom a reload leaves alone need not prove the password again.

    """

    def __init__(self, users: Mapping[str, str], checker: PasswordChecker) -> None:
        self._hashes = {name.encode(): hashed.encode() for name, hashed in users.items()}
        self.checker = checker

    async def allows(self, authorization: str, client: str) -> bool | None:
        """Whether this `Authorization` header names a user with the right password.

        None: too many passwords of this client wait to be checked. Other clients do not wait for all of them,
        and a password that was right once does not wait at all.
        """
        if not self._hashes:
            return True
        credentials = _credentials(authorization)
        if credentials is None:
            return False
        user, password = credentials
        # An unknown user costs as much time as a known one: names cannot be told by the clock.
        hashed = self._hashes.get(user, next(iter(self._hashes.values())))
        right = await self.checker.is_right(password, hashed, client)
        return right and user in self._hashes


def _credentials(authorization: str) -> tuple[bytes, bytes] | None:
    """User and password of a header of basic authentication; None for another."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        return None
    return user, password
