"""The command `completion`: the script with which a shell completes commands, flags and their values."""

import argparse
from collections.abc import Iterator

import shtab

SHELLS = ("bash", "zsh", "tcsh")
# What a flag's value is called in the help, and what the shell offers for it.
_OFFERS = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for one of `SHELLS`, for a parser of every command."""
    for action in _actions(parser):
        if action.metavar in _OFFERS:
            action.complete = _OFFERS[str(action.metavar)]  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Each flag and argument, also of sub-commands. Only the library's private list has them all."""
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for sub in action.choices.values():
                yield from _actions(sub)
        else:
            yield action
