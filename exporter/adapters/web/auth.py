"""Basic authentication against bcrypt hashes, without paying for bcrypt at every scrape."""

import base64
import binascii
import hashlib
import hmac
import threading
from collections.abc import Mapping

import bcrypt

# bcrypt reads no more, and this library refuses what others cut off.
_BCRYPT_BYTES = 72


class BasicAuth:
    """Decides who may come in; any thread may ask.

    Args:
        users: bcrypt hash by user name; without any, everyone may.

    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = {name.encode(): hashed.encode() for name, hashed in users.items()}
        # A hash costs 50 to 200 ms by design; a password that was right once is known by its SHA-256.
        self._verified: dict[bytes, bytes] = {}
        # One at a time: guessing passwords may keep one core busy, never all.
        self._turn = threading.Lock()

    def allows(self, authorization: str) -> bool:
        """Whether this `Authorization` header names a user with the right password."""
        if not self._users:
            return True
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, _, password = base64.b64decode(credentials.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):  # ValueError: not ASCII
            return False
        digest = hashlib.sha256(password).digest()
        if hmac.compare_digest(self._verified.get(user, b""), digest):
            return True
        # An unknown user costs as much time as a known one: names cannot be told by the clock.
        hashed = self._users.get(user, next(iter(self._users.values())))
        with self._turn:
            right = bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed)
        if right and user in self._users:
            self._verified[user] = digest
            return True
        return False
