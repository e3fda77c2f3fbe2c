"""Reading a secret from where it is kept, at the moment it is needed."""

import re
from collections.abc import Callable

from exporter.core.source import Refused

_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")


def read_secret(read: Callable[[], str], what: str) -> str:
    """The secret. Raises `Refused` where it cannot be read or is empty."""
    try:
        secret = read()
    except OSError as error:
        raise Refused(f"{what} cannot be read: {error.strerror or type(error).__name__}.") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{what} cannot be read: its file is not UTF-8.") from error
    if not secret:
        raise Refused(f"{what} is empty.")
    return secret


def read_header_secret(read: Callable[[], str], what: str) -> str:
    """A secret that goes into a header. Raises `Refused` where a header could not carry it."""
    secret = read_secret(read, what)
    if not is_header_value(secret):
        raise Refused(f"{what} holds a character that no header can carry.")
    return secret


def is_header_value(secret: str) -> bool:
    """Whether it is of visible ASCII characters only, as every token is."""
    return _HEADER_VALUE.fullmatch(secret) is not None
