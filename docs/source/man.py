"""The man page, written from the parser of the command line and from the README.

`python -m docs.source.man > docs/modelarts-exporter.1`
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from exporter.app import VERSION
from exporter.cli import COMMANDS, build_parser

_README = Path(__file__).parents[2] / "README.md"

_END = """\
.SH SIGNALS
.TP
.BR SIGTERM ", " SIGINT
End. The exporter finishes the write under way, within five seconds.
.TP
.B SIGHUP
Read the configuration again. If it has a mistake, the old one stays in force.
.SH FILES
.TP
.I data/
The store, in the directory of \\fB\\-\\-storage.path\\fP. Keep it: the counters live there.
.SH EXAMPLES
.EX
modelarts\\-exporter check\\-config config.yml
modelarts\\-exporter doctor \\-\\-config.file=config.yml
modelarts\\-exporter \\-\\-config.file=config.yml \\-\\-storage.path=/var/lib/modelarts\\-exporter
.EE
.SH SEE ALSO
.BR prometheus (1),
.BR promtool (1).
The pages in
.I docs/
of the source describe the config file, the metrics and the alerts.
"""


def page() -> str:
    """The page, in roff's macros for man pages."""
    parser = build_parser()
    return "\n".join(
        [
            '.\\" Written by python -m docs.source.man; edit the texts in exporter/cli.py.',
            f'.TH MODELARTS\\-EXPORTER 1 "" "modelarts\\-exporter {VERSION}" "User Commands"',
            ".nh\n.ad l",  # a word that is broken in two cannot be copied
            ".SH NAME",
            "modelarts\\-exporter \\- show failed deployments of ModelArts inference services to Prometheus",
            ".SH SYNOPSIS",
            ".B modelarts\\-exporter",
            "\\-\\-config.file=\\fIFILE\\fP [\\fIFLAG\\fP]...",
            ".br",
            ".B modelarts\\-exporter",
            "\\fICOMMAND\\fP [\\fIFLAG\\fP]...",
            ".SH DESCRIPTION",
            _text(f"{parser.description} {parser.epilog}"),
            *(line for name in COMMANDS for line in _command(parser, name)),
            ".SH EXIT STATUS",
            _text(_exit_codes()),
            _END,
        ]
    )


def _command(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    (subs,) = [action for action in _actions(parser) if isinstance(action.choices, dict)]
    assert isinstance(subs.choices, dict)
    sub: argparse.ArgumentParser = subs.choices[name]
    yield f".SH {name.upper()}".replace("-", "\\-")
    shown = [action for action in _actions(sub) if action.dest not in ("help", "version")]
    words = [f" \\fI{action.metavar}\\fP" for action in shown if not action.option_strings]
    yield f".B modelarts\\-exporter {_text(name)}" + "".join(words)
    if len(shown) > len(words):
        yield "[\\fIFLAG\\fP]..."
    yield ".PP"
    yield _text(str(sub.description))
    expand = sub._get_formatter()._expand_help  # noqa: SLF001 - fills in the defaults as --help does
    for action in shown:
        yield ".TP"
        yield _head(action)
        yield _text(expand(action))


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return list(parser._actions)  # noqa: SLF001 - the library has no public list of them


def _head(action: argparse.Action) -> str:
    value = action.metavar or "|".join(map(str, action.choices or ()))
    if not action.option_strings:
        return f"\\fI{value}\\fP"
    flag = f"\\fB{_text(action.option_strings[0])}\\fP"
    return f"{flag}=\\fI{value}\\fP" if value else flag


def _exit_codes() -> str:
    (found,) = re.findall(r"^Exit codes: (.*?)\n\n", _README.read_text(), re.MULTILINE | re.DOTALL)
    return f"{found[:1].upper()}{found[1:]}".replace("`", "")


def _text(text: str) -> str:
    """One paragraph; nothing in it is taken for a macro, and a hyphen stays what one can copy."""
    line = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{line}" if line.startswith((".", "'")) else line


if __name__ == "__main__":
    sys.stdout.write(page())
