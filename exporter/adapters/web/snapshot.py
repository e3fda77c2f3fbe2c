"""What the web side reads of the rest of the program: one moment, as of one commit."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from exporter.core.pages.overview import ProjectStatus, Services


class Page(Protocol):
    """One moment's metrics."""

    def body(self, *, openmetrics: bool, gzip: bool, tail: bytes) -> list[bytes]:
        """The whole answer in ready pieces, with our own metrics, `tail`, at its end."""


P_co = TypeVar("P_co", bound=Page, covariant=True)


class Snapshot(Protocol[P_co]):
    """Everything that an answer is made of; it never changes, so that no answer mixes two commits."""

    @property
    def page(self) -> P_co:
        """The metrics."""

    @property
    def projects(self) -> Sequence[ProjectStatus]:
        """The projects in a word each."""

    @property
    def services(self) -> Services:
        """The services present, by project and id."""
