"""What `backfill` does: read every project, then write the past of all services to a file."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.prometheus.timed_samples import EOF, TimedSamples
from exporter.app import VERSION, families_of_services, now_ms, revision
from exporter.commands.backfill.project_reader import ProjectReader
from exporter.commands.progress import ProgressLine, Work
from exporter.config import load
from exporter.core.backfill.steps import Steps, steps
from exporter.core.metrics.families import PROJECT_FAMILIES, known_of_the_past
from exporter.core.polling.shard import Shard
from exporter.factory import ProjectFactory


class Flags(NamedTuple):
    """What is asked for: the past from `since` (ms) on, a sample for each `step` (ms)."""

    config_file: str
    since: int
    step: int
    output: Path
    shard: Shard


def run(flags: Flags) -> int:
    """Write the past of every service to a file; a summary of each project goes to stderr.

    Returns 1 if a project or a service could not be read; if no project could be, the file stays as it is.
    """
    config = load(flags.config_file, os.environ)
    moments = steps(flags.since, now_ms() // 1000 * 1000, flags.step)  # whole seconds make shorter lines
    metrics = SelfMetrics([p.name for p in config.projects], [], version=VERSION, revision=revision())
    readers, work = list[ProjectReader](), Work()
    with ExitStack() as stack:
        new = stack.enter_context(_NewFile(flags.output))
        stack.enter_context(ProgressLine(work.line))
        for settings, resources in ProjectFactory(flags.shard, metrics, now_ms).setups(config):
            stack.callback(resources.stop)
            readers.append(ProjectReader(settings, resources, moments))
        of_services, of_projects = (
            stack.enter_context(TimedSamples(known_of_the_past(families), flags.output.parent))
            for families in (families_of_services(config), PROJECT_FAMILIES)
        )
        for reader in readers:
            reader.read(of_services, work)
            reader.add_project(of_projects)
        if any(reader.was_listed for reader in readers):
            _write(new.file, (of_services, of_projects), moments, work)
            new.keep()
    for reader in readers:
        for line in reader.summary():
            print(line, file=sys.stderr)
    return 0 if all(reader.was_read_whole for reader in readers) else 1


def _write(file: IO[bytes], samples: tuple[TimedSamples, ...], moments: Steps, work: Work) -> None:
    times = [_seconds(moments.time(number)) for number in range(moments.seam + 1)]
    written = work.begin("metrics written", sum(len(part.families) for part in samples))
    for part in samples:
        part.write(file, times, written)
    file.write(EOF)


def _seconds(milliseconds: int) -> str:
    whole, rest = divmod(milliseconds, 1000)
    return f"{whole}.{rest:03}" if rest else str(whole)


class _NewFile:
    """A file that takes the place of another one in the end, or never; a context manager.

    Args:
        path: of the file whose place it takes.

    """

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_file():
            raise OSError(f"{path} is not a file, and promtool reads nothing else.")
        self._path, self._temporary = path, path.with_name(f"{path.name}.part")
        self.file = self._temporary.open("wb")

    def keep(self) -> None:
        """Put it into place; it is whole."""
        self.file.close()
        self._temporary.replace(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()
        self._temporary.unlink(missing_ok=True)
