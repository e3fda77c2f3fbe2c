"""Secrets that do not print."""

from dataclasses import dataclass
from pathlib import Path

from exporter.config.text import one_line

HIDDEN = "<secret>"


class SecretUnreadable(OSError):  # noqa: N818 - the class says what happened
    """A secret file cannot be used; `strerror` says why, without the path, and nothing tells the content.

    It is an `OSError` so that whoever reads a secret through a plain function need not know of this module.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the secret file {str(path)!r} cannot be read: {reason}")
        self.strerror = reason


@dataclass(frozen=True, repr=False, slots=True)
class Secret:
    """A text that shows itself only when asked by name."""

    _text: str

    def reveal(self) -> str:
        """The text, for the one place that sends it."""
        return self._text

    def __str__(self) -> str:
        return HIDDEN

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file whose content is a secret; read anew each time, because something else may renew it."""

    path: Path

    def read(self) -> str:
        """The content without the white space around it, and without the mark that some editors begin with.

        Raises:
            SecretUnreadable: the file cannot be read, is empty, or is not one line of text.

        """
        try:
            text = self.path.read_bytes().decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            raise SecretUnreadable(self.path, "it is not UTF-8 text") from None
        except OSError as error:
            raise SecretUnreadable(self.path, error.strerror or type(error).__name__) from None
        if not text:
            raise SecretUnreadable(self.path, "it is empty")
        if not one_line(text):
            # It would end up in a header, and the error about that would show it.
            raise SecretUnreadable(self.path, "it holds more than one line of text")
        return text
