"""OpenMetrics in which each sample has a time, as `promtool tsdb create-blocks-from openmetrics` reads it.

The format wants the samples of one metric together, and of one series in the order of time; they are found
service by service. So each family has a file of its own, which has no name and is gone with the process. It
holds runs: lines, and the steps between which they did not change. They become samples only when the whole is
written, so that little of it is in memory or on the disk twice.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Self

import msgspec

from exporter.adapters.prometheus.exposition import openmetrics_head, series_and_value
from exporter.core.metrics.family import Family, Sample

EOF = b"# EOF\n"

# So many samples of a run are made at a time: about a megabyte of text.
_SAMPLES_AT_ONCE = 4096

_LENGTH_BYTES = 4


class _Run(msgspec.Struct, array_like=True):
    """The text of some lines around their times, shown from the step `first` to `last`."""

    parts: list[str]
    first: int
    last: int


class TimedSamples:
    """A context manager; its files are closed at the end.

    Args:
        families: of one kind of subject, in the order in which they are written.
        directory: where the files are.

    """

    def __init__(self, families: Sequence[Family], directory: Path) -> None:
        self.families = families
        self._directory = directory
        self._files: list[IO[bytes]] = []
        self._stack = ExitStack()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(list[_Run])

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._files = [stack.enter_context(TemporaryFile(dir=self._directory)) for _ in self.families]
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, states: Iterable[tuple[int, Any]], end: int) -> None:
        """Add a subject: from each step on as it is then, the last state up to the step `end`."""
        columns = [_FamilyRuns(family) for family in self.families]
        for first, last, subject in _intervals(states, end):
            for column in columns:
                column.show(first, last, subject)
        for column, file in zip(columns, self._files, strict=True):
            for runs in column.metrics.values():
                record = self._encoder.encode(runs)
                file.write(len(record).to_bytes(_LENGTH_BYTES))
                file.write(record)

    def write(self, output: IO[bytes], times: Sequence[str], on_family: Callable[[], None]) -> None:
        """Write all samples, without a final `# EOF`.

        Args:
            output: where to.
            times: of the steps, in seconds, as text.
            on_family: called after each family.

        """
        for family, file in zip(self.families, self._files, strict=True):
            output.write(openmetrics_head(family))
            file.seek(0)
            while length := file.read(_LENGTH_BYTES):
                for run in self._decoder.decode(file.read(int.from_bytes(length))):
                    output.writelines(_samples(run, times))
            on_family()


class _FamilyRuns:
    """The runs of one family of one subject, metric by metric."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._shown: list[Sample] = []
        self._current: list[_Run] = []  # of the samples shown last
        self.metrics: dict[tuple[tuple[str, str], ...], list[_Run]] = {}

    def show(self, first: int, last: int, subject: Any) -> None:
        shown = list(self._family.samples(subject))
        if shown == self._shown:
            for run in self._current:
                run.last = last
            return
        self._shown, self._current = shown, []
        for labels, parts in self._texts(shown).items():
            runs = self.metrics.setdefault(labels, [])
            if runs and runs[-1].last == first - 1 and runs[-1].parts == parts:
                runs[-1].last = last
            else:
                runs.append(_Run(parts, first, last))
            self._current.append(runs[-1])

    def _texts(self, shown: Iterable[Sample]) -> dict[tuple[tuple[str, str], ...], list[str]]:
        """Of each metric its lines, cut where the time belongs: those of a histogram stay together."""
        texts: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for sample in shown:
            series, value = series_and_value(self._family, sample)
            parts = texts.setdefault(tuple(label for label in sample.labels if label[0] != "le"), [""])
            parts[-1] += f"{series} {value} "
            parts.append("\n")
        return texts


def _intervals(states: Iterable[tuple[int, Any]], end: int) -> Iterator[tuple[int, int, Any]]:
    """The first and the last step of each state; of several that begin with one step, the last."""
    begin, subject = 0, None
    for number, state in states:
        if subject is not None and number > begin:
            yield begin, number - 1, subject
        begin, subject = number, state
    if subject is not None:
        yield begin, end, subject


def _samples(run: _Run, times: Sequence[str]) -> Iterator[bytes]:
    for first in range(run.first, run.last + 1, _SAMPLES_AT_ONCE):
        part = times[first : min(first + _SAMPLES_AT_ONCE, run.last + 1)]
        yield "".join([time.join(run.parts) for time in part]).encode()
