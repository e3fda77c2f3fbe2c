"""The configuration reference, written from the schema's own descriptions.

`python -m docs.source.configuration > docs/configuration.md`
"""

import sys
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from exporter.config.public import public
from exporter.config.schema import Config
from exporter.config.section import Section
from exporter.config.values import Kind
from exporter.config.web import WebFile

_HEAD = """\
# Configuration

`python -m docs.source.configuration` writes this page from the schema in `exporter/config`; edit the
descriptions there.

`modelarts-exporter check-config FILE` prints every mistake of a file at once, each as
`FILE:LINE: key.path: what is wrong, what is allowed`. `deploy/config.example.yml` is a commented file to
start from.

## How a file is read

- The file is YAML in UTF-8, at most 1 MiB. An unknown key is an error, and so is a key that is given twice.
  Anchors, aliases and merge keys (`<<`) can be used; tags (`!...`) cannot.
- A value is taken as it is written: `workspaces: [0]` is the text `0`. An empty value, `null` or `~` is the
  same as no key; in a list it is an error.
- **Durations** have units: `500ms`, `30s`, `5m`, `2h`, `30d`. Several units go from large to small: `1h30m`.
- **Variables**: `${NAME}` in a value is replaced by the environment variable, once. A missing variable is an
  error. `$$` is one `$`; any other `$` stays as it is. Keys and the content of files are not changed. An
  error message shows such a value as it is written in the file.
- **Files** (`*_file`): a relative path starts from the directory of the config file. A secret file is one
  line of text; white space around it and a byte order mark are removed. A file that cannot be read is an
  error at start and at reload. While the exporter runs, it is a failed sign-in.
- **Secrets** never appear in a log, a metric, a page or an error message; they are printed as `<secret>`.
- **URLs** are http or https, without user and password; a slash at the end is removed.
- **Regular expressions** are those of Python. For names, the whole name must match. For `causes`, a match
  anywhere in the text is enough, and upper and lower case are the same.

## Config file

The file of `--config.file`. It is read again on SIGHUP and on `POST /-/reload`. If the file has a mistake,
nothing changes and the old configuration stays in force. Otherwise only what you changed in the file changes:
a project whose section is the same keeps its token, its refused sign-ins, its learned request rate and its
requests under way.
"""

_WEB_HEAD = """\
## Web config file

The file of `--web.config.file`, in the format of exporter-toolkit, which many exporters share. It is read
again together with the config file, and without a signal within seconds of a change in it or in a
certificate, key or authority that it names. If a certificate and its key do not fit each other yet, the old
ones stay in force.

The rules above apply, except that `$` has no meaning here: password hashes contain it. Some keys of the
format are errors, because the exporter does not do what they ask for: `client_allowed_sans`, `rate_limit`,
and inline `cert` and `key`.
"""


def reference() -> str:
    """The whole page."""
    sections = [*_sections(Config, ""), _WEB_HEAD, *_sections(WebFile, "")]
    return "\n".join([_HEAD, *sections])


def _sections(section: type[Section], path: str) -> Iterator[str]:
    """One table for the section, then one for each section below it."""
    rows = [
        f"| `{key}` | {_accepts(info)} | {_default(info)} | {_cell(info.description or '')} |"
        for key, info in section.model_fields.items()
    ]
    heading = f"### `{path}`\n\n{section.__doc__}\n" if path else f"{section.__doc__}\n"
    table = ["| Key | Accepts | Default | Meaning |", "| --- | --- | --- | --- |", *rows]
    yield "\n".join([heading, *table, ""])
    for key, info in section.model_fields.items():
        below, many = _below(info.annotation)
        if below:
            step = f"{key}[]" if many else key
            yield from _sections(below, f"{path}.{step}" if path else step)


def _below(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The section in an annotation, and whether it is a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    for part in get_args(annotation):
        found, many = _below(part)
        if found:
            return found, many or get_origin(annotation) is tuple
    return None, False


def _accepts(info: FieldInfo) -> str:
    kinds = [mark.what for mark in info.metadata if isinstance(mark, Kind)]
    return _cell(kinds[0] if kinds else _words(info.annotation))


def _words(annotation: Any) -> str:
    """What an annotation accepts, in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return next(mark.what for mark in parts if isinstance(mark, Kind))
    if origin is tuple:
        return f"a list, each {_words(parts[0])}"
    if origin in {Union, types.UnionType}:
        return _words(parts[0])
    if parts:
        return f"a mapping of names to values, each {_words(parts[1])}"
    return "a mapping, see below"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if info.default_factory_takes_validated_data:  # only a project's name
        return "the `project_id`"
    value = info.get_default(call_default_factory=True)
    if value is None or isinstance(value, Section):
        return "" if value is None else "its defaults"
    shown = public(value, info)
    if isinstance(shown, list):
        return f"`[{', '.join(shown)}]`"
    if isinstance(shown, bool):
        return f"`{str(shown).lower()}`"
    return f"`{shown}`"


def _cell(text: str) -> str:
    """Text in one cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(reference())
