"""The text that Prometheus reads, rendered when a subject changes and only joined when it is scraped.

Every family keeps one column of blocks. A block is the family's lines of some neighbouring subjects, as text
and deflated, so a change costs one small block in each family that it touches, whatever the fleet's size.
"""

import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any, Self

from prometheus_client.utils import floatToGoString

from exporter.adapters.prometheus import deflate
from exporter.core.metrics.family import Family, Sample, unit_of

# Subjects in a block. Measured at 10,000 services with 50 changes a second: at 16 the answer grows by a
# seventh (each block starts with an empty dictionary), at 256 a change costs three times as much.
_BLOCK = 64

_EOF = b"# EOF\n"


class Page:
    """The exposition at one moment; immutable, so any thread may read it without a lock.

    `number` rises with each page: a scrape of one has seen whatever an earlier one showed.
    """

    def __init__(self, columns: "tuple[_Column, ...]", number: int) -> None:
        self._columns = columns
        self.number = number

    def body(self, *, openmetrics: bool, gzip: bool, tail: bytes) -> list[bytes]:
        """The answer to a scrape, in pieces to be sent one after the other.

        Args:
            openmetrics: OpenMetrics 1.0.0 rather than the text format 0.0.4; the same lines, other heads.
            gzip: as one gzip member.
            tail: more text of the same format, without a final `# EOF`.

        """
        if openmetrics:
            tail += _EOF
        if not gzip:
            texts = (
                (column.heads[openmetrics].text, *(block.text for block in column.blocks))
                for column in self._columns
            )
            return [*chain.from_iterable(texts), tail]
        sealed = deflate.NOTHING
        for column in self._columns:
            sealed = sealed.then(column.heads[openmetrics].seal).then(column.seal)
        pieces = (
            (column.heads[openmetrics].deflated, *(block.deflated for block in column.blocks))
            for column in self._columns
        )
        return deflate.member(chain.from_iterable(pieces), sealed, tail)


class Exposition:
    """Keeps the page up to date; one thread updates it.

    Args:
        service_families: what is shown of each service, in the order of the page.
        project_families: what is shown of each project, after the services.

    """

    def __init__(self, service_families: Sequence[Family], project_families: Sequence[Family]) -> None:
        self._services = _Table(service_families)
        self._projects = _Table(project_families)
        self._page = Page(self._services.columns + self._projects.columns, 0)

    def update(
        self,
        services: Mapping[tuple[str, str], Any | None],
        projects: Mapping[str, Any | None],
        number: int = 0,
    ) -> None:
        """Show these subjects as they are now, and those that are None no more; all others stay.

        The keys give the order of the lines: (project, service_id), and project. `number` is the page's.
        """
        self._services.update(services)
        self._projects.update(projects)
        self._page = Page(self._services.columns + self._projects.columns, number)

    def page(self) -> Page:
        """The page as the last update left it."""
        return self._page


class _Block:
    """One family's lines of some neighbouring subjects."""

    def __init__(self, text: bytes, ends: "array[int]") -> None:
        self.text = text
        self.ends = ends  # where each subject's lines end
        self.crc = zlib.crc32(text)
        self.deflated = deflate.deflate(text)

    @classmethod
    def of(cls, rows: Sequence[bytes]) -> Self:
        return cls(b"".join(rows), array("I", accumulate(map(len, rows))))

    def row(self, place: int) -> bytes:
        return self.text[self._begin(place) : self.ends[place]]

    def with_rows(self, rows: Mapping[int, bytes]) -> "_Block":
        """A block with other lines for these subjects; what is between them is copied as it is."""
        parts, copied = [], 0
        ends = self.ends[:]
        for place in sorted(rows):
            parts += [self.text[copied : self._begin(place)], rows[place]]
            copied = self.ends[place]
            growth = len(rows[place]) - (copied - self._begin(place))
            if growth:
                for moved in range(place, len(ends)):
                    ends[moved] += growth
        return _Block(b"".join([*parts, self.text[copied:]]), ends)

    def _begin(self, place: int) -> int:
        return self.ends[place - 1] if place else 0

    def rows(self) -> list[bytes]:
        return [self.row(place) for place in range(len(self.ends))]


class _Head:
    """A family's HELP and TYPE lines, and its UNIT line if there is a unit."""

    def __init__(self, name: str, kind: str, text: str, unit: str = "") -> None:
        unit_line = f"# UNIT {name} {unit}\n" if unit else ""
        self.text = f"# HELP {name} {text}\n# TYPE {name} {kind}\n{unit_line}".encode()
        self.deflated = deflate.deflate(self.text)
        self.seal = deflate.seal([self.text])


class _Column:
    """One family's lines of all subjects."""

    def __init__(self, heads: "tuple[_Head, _Head]", blocks: tuple[_Block, ...]) -> None:
        self.heads = heads  # of the text format, of OpenMetrics
        self.blocks = blocks
        self._seal: deflate.Seal | None = None

    def with_blocks(self, new: Mapping[int, _Block]) -> "_Column":
        """The column with other blocks at these places."""
        blocks = list(self.blocks)
        for place, block in new.items():
            blocks[place] = block
        return _Column(self.heads, tuple(blocks))

    @property
    def seal(self) -> deflate.Seal:
        """Of the blocks; found at the first scrape that needs it, and two at once find the same."""
        if self._seal is None:
            self._seal = deflate.joined((block.crc, len(block.text)) for block in self.blocks)
        return self._seal


class _Bucket:
    """Neighbouring subjects: their keys in order, and their block in each family."""

    def __init__(self, keys: Sequence[Any], blocks: Iterable[_Block]) -> None:
        self.keys = keys
        self.blocks = list(blocks)


class _Table:
    """The columns of one kind of subject."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families
        self._buckets: list[_Bucket] = []
        self.columns = tuple(_Column(_heads(family), ()) for family in families)

    def update(self, changes: Mapping[Any, Any | None]) -> None:
        touched: dict[int, dict[Any, Any | None]] = {}
        starts = [bucket.keys[0] for bucket in self._buckets]
        for key, subject in changes.items():
            touched.setdefault(max(bisect_right(starts, key) - 1, 0), {})[key] = subject
        stale: dict[int, list[int]] = {}  # by the number of a family, the places of its blocks that changed
        cut = False
        for place in sorted(touched, reverse=True):  # from the end: a cut moves only what is behind it
            changed = self._change(place, touched[place])
            cut = cut or changed is None
            for number in changed or ():
                stale.setdefault(number, []).append(place)
        if cut:
            self.columns = tuple(
                _Column(column.heads, tuple(bucket.blocks[number] for bucket in self._buckets))
                for number, column in enumerate(self.columns)
            )
            return
        columns = list(self.columns)
        for number, places in stale.items():
            new = {place: self._buckets[place].blocks[number] for place in places}
            columns[number] = columns[number].with_blocks(new)
        self.columns = tuple(columns)

    def _change(self, place: int, changes: Mapping[Any, Any | None]) -> set[int] | None:
        """Change one bucket; return the numbers of the families that changed. None: it was cut anew."""
        bucket = self._buckets[place] if self._buckets else _Bucket([], [])
        places = {key: place for place, key in enumerate(bucket.keys)}
        coming = {key for key, subject in changes.items() if subject is not None}
        going = {key for key, subject in changes.items() if subject is None and key in places}
        if not going and coming <= places.keys():
            return _replace(bucket, {places[key]: self._rows(changes[key]) for key in coming})
        keys = sorted(places.keys() - going | coming)
        old = [block.rows() for block in bucket.blocks]
        # A bucket is cut when it is twice as large as it should be, so that few additions cut one.
        size = _BLOCK if len(keys) > 2 * _BLOCK else 2 * _BLOCK
        cut = []
        for start in range(0, len(keys), size):
            part = keys[start : start + size]
            rows = [
                self._rows(changes[key]) if key in coming else [block[places[key]] for block in old]
                for key in part
            ]
            cut.append(_Bucket(part, [_Block.of(column) for column in zip(*rows, strict=True)]))
        self._buckets[place : place + 1] = cut
        return None

    def _rows(self, subject: Any) -> list[bytes]:
        return [_lines(family, subject) for family in self._families]


def _replace(bucket: _Bucket, changes: Mapping[int, Sequence[bytes]]) -> set[int]:
    """Render anew only the blocks in which a line differs; return their families' numbers."""
    stale = set()
    for number, block in enumerate(bucket.blocks):
        new = {place: rows[number] for place, rows in changes.items() if rows[number] != block.row(place)}
        if new:
            stale.add(number)
            bucket.blocks[number] = block.with_rows(new)
    return stale


def openmetrics_head(family: Family) -> bytes:
    """The family's HELP, TYPE and UNIT lines in OpenMetrics."""
    return _heads(family)[True].text


def series_and_value(family: Family, sample: Sample) -> tuple[str, str]:
    """The two parts of a line, labels sorted by name as prometheus_client sorts them."""
    return f"{family.name}{sample.suffix}{_braces(sample.labels)}", _number(sample.value)


def _heads(family: Family) -> tuple[_Head, _Head]:
    """The two formats' heads: OpenMetrics names a counter without `_total`, escapes quotes and has units."""
    name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
    text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    return _Head(family.name, family.kind, text), _Head(
        name, family.kind, text.replace('"', r"\""), unit_of(name)
    )


def _lines(family: Family, subject: Any) -> bytes:
    """The family's lines of one subject."""
    name = family.name
    lines = [
        f"{name}{suffix}{_braces(labels)} {_number(value)}\n"
        for suffix, labels, value in family.samples(subject)
    ]
    return "".join(lines).encode()


# Most lines of a service have the same labels, and its lines are rendered one after the other; beside these a
# service has some ten sets of labels.
@lru_cache(maxsize=64)
def _braces(labels: tuple[tuple[str, str], ...]) -> str:
    return f"{{{','.join(map(_label, sorted(labels)))}}}" if labels else ""


# And most of these sets have labels in common.
@lru_cache(maxsize=256)
def _label(label: tuple[str, str]) -> str:
    name, text = label
    return f'{name}="{_escaped(text)}"'


def _escaped(text: str) -> str:
    if not text.isascii() and not text.isprintable():
        # Half a surrogate pair is no character; Prometheus would refuse the whole page for it.
        text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return _go_number(value) if value else repr(float(value))  # 0.0 and -0.0 are equal


# Most values are 0, 1, or the time of something that other families show too.
@lru_cache(maxsize=1024)
def _go_number(value: float) -> str:
    return floatToGoString(value)  # type: ignore[no-untyped-call, no-any-return]
