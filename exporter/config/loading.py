"""A file on disk becomes a validated section, or one error that tells all that is wrong with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from exporter.config.document import Document, Unparsable
from exporter.config.problems import ConfigError, Loc, Problem, dotted
from exporter.config.schema import Config
from exporter.config.section import Loading, Section

# Ten thousand ids take 400 KB; what is larger is not a config file, and would take minutes to parse.
_LARGEST_FILE = 1 << 20

# For the few errors that pydantic finds by itself; all others bring their own sentence.
_SENTENCES = {
    "tuple_type": 'must be a list: [a, b], or one "- item" a line',
    "dict_type": "must be a mapping of names to values",
}

# What is missing the section has said, with what is allowed; what depends on a wrong value says nothing new.
_SAID = {"missing", "default_factory_not_called"}

S = TypeVar("S", bound=Section)


def load(path: str | Path, environ: Mapping[str, str]) -> Config:
    """Read the config file; paths in it are relative to its directory.

    Raises:
        ConfigError: with every problem.

    """
    return load_section(path, Config, environ)


def load_section(path: str | Path, section: type[S], environ: Mapping[str, str] | None) -> S:
    """Read one YAML file as a section.

    Args:
        path: as the user wrote it; errors repeat it.
        section: what the document must be.
        environ: for `${NAME}`; None where the format gives `$` no meaning.

    Raises:
        ConfigError: with every problem.

    """
    try:
        document = Document(_text(Path(path)), environ)
    except Unparsable as fault:
        raise ConfigError(str(path), [Problem(fault.line, fault.path, fault.message)]) from None
    loading = Loading(Path(path).parent)
    faults: list[tuple[Loc, str]] = loading.faults
    value: S | None = None
    try:
        value = section.model_validate(document.value, context=loading)
    except ValidationError as error:
        # Without input and context: neither may reach a log, they may hold secrets.
        details = error.errors(include_url=False, include_context=False, include_input=False)
        faults += [
            (detail["loc"], _SENTENCES.get(detail["type"], detail["msg"]))
            for detail in details
            if detail["type"] not in _SAID
        ]
    found = [Problem(line, dotted(loc), message) for line, loc, message in document.problems]
    found += [
        Problem(document.line(loc), dotted(loc), message)
        for loc, message in faults
        if not any(loc[:depth] in document.broken for depth in range(len(loc) + 1))
    ]
    if found or value is None:
        raise ConfigError(str(path), found)
    return value


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise Unparsable(1, "(file)", f"cannot be read: {error.strerror}") from None
    if len(raw) > _LARGEST_FILE:
        raise Unparsable(1, "(file)", "is larger than 1 MiB, which no config file is")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unparsable(line, "(file)", "is not UTF-8 text") from None
