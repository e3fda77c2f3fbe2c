"""Basic authentication against bcrypt hashes, without paying for bcrypt at every scrape."""

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

import bcrypt

# Passwords that wait to be checked, some 2 s of work: who guesses many at once does not hold a connection for
# each of them.
_MOST_WAITING = 16
# bcrypt reads no more, and this library refuses what others cut off.
_BCRYPT_BYTES = 72


class BasicAuth:
    """Decides who may come in; one event loop asks.

    Args:
        users: bcrypt hash by user name; without any, everyone may.

    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self.users = dict(users)
        self._hashes = {name.encode(): hashed.encode() for name, hashed in users.items()}
        # A hash costs 50 to 200 ms by design; a password that was right once is known by its SHA-256.
        self._verified: dict[bytes, bytes] = {}
        self._waiting = 0
        # One at a time: guessing passwords may keep one core and one thread busy, never all.
        self._turn = asyncio.Lock()

    async def allows(self, authorization: str) -> bool | None:
        """Whether this `Authorization` header names a user with the right password.

        None: too many others wait for theirs to be checked. One that was right once need not wait.
        """
        if not self._hashes:
            return True
        credentials = _credentials(authorization)
        if credentials is None:
            return False
        user, password = credentials
        digest = hashlib.sha256(password).digest()
        if hmac.compare_digest(self._verified.get(user, b""), digest):
            return True
        if self._waiting >= _MOST_WAITING:
            return None
        # An unknown user costs as much time as a known one: names cannot be told by the clock.
        hashed = self._hashes.get(user, next(iter(self._hashes.values())))
        self._waiting += 1
        try:
            async with self._turn:
                right = await asyncio.to_thread(bcrypt.checkpw, password[:_BCRYPT_BYTES], hashed)
        finally:
            self._waiting -= 1
        if right and user in self._hashes:
            self._verified[user] = digest
            return True
        return False


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
