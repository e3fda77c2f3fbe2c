"""YAML text as plain values that remember their lines.

Every scalar stays the text that was written: `0`, `1e5` and `yes` mean what the schema says they
mean, not what YAML guesses. An empty value, `null` and `~` are None. `${NAME}` is filled in here,
because here a value is still one piece of text.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml
from yaml.reader import ReaderError

from exporter.config.problems import Loc
from exporter.config.text import Expanded, encodable

# Ten thousand services by id, five times over. Aliases can make a small file expand to more than any
# memory holds, so what counts is the number of values after expansion, not the size of the file.
_MOST_VALUES = 50_000

_UNREAD = ""  # stands for a value that could not be read: the key is there all the same

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))
_REFERENCE = re.compile(r"\$(?:\$|\{(?P<name>[^}]*)(?P<end>\}?))")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What the parser quotes may be a piece of a secret that began with a special character; its own names
# for tokens ('<block end>') and single characters may not.
_QUOTED_INPUT = re.compile(r" ?'(?![<\\])[^']{2,}'")
_REMEDIES = {
    "cannot start any token": "; indent with spaces, and put quotes around a value that begins so",
    "undefined alias": '; put quotes around a value that begins with "*"',
}


class Table(dict[str, Any]):
    """A mapping that knows where it stands."""

    def __init__(self, loc: Loc) -> None:
        super().__init__()
        self.loc = loc


class Unparsable(Exception):  # noqa: N818 - the class says what happened
    """The text cannot be turned into values at all."""

    def __init__(self, line: int, path: str, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.path = path
        self.message = message


class Document:
    """The values of one YAML text.

    Attributes:
        value: mappings as `Table`, lists, str (`Expanded` where a variable was), None.
        lines: of every key and list item, from 1.
        problems: (line, loc, message) of what is wrong with the text itself.
        broken: where a value could not be read; what the schema says about it is beside the point.

    """

    def __init__(self, text: str, environ: Mapping[str, str] | None) -> None:
        """Parse.

        Args:
            text: the YAML text.
            environ: for `${NAME}`; None leaves every `$` alone.

        Raises:
            Unparsable: a syntax error, an empty document, more values than anybody writes.

        """
        self.lines: dict[Loc, int] = {}
        self.problems: list[tuple[int, Loc, str]] = []
        self.broken: set[Loc] = set()
        self._environ = environ
        self._spent = 0
        self._open: set[int] = set()  # nodes that enclose the present one, to see an alias to itself
        try:
            node = _compose(text)
            self.value = self._value(node, ())
        except RecursionError:
            raise Unparsable(1, "(syntax)", "is nested too deeply") from None

    def line(self, loc: Loc) -> int:
        """The line of a key, or of the nearest one around it that was written."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return self.lines.get(loc, 1)

    def _spend(self) -> None:
        self._spent += 1
        if self._spent > _MOST_VALUES:
            raise Unparsable(
                1, "(document)", f"has more than {_MOST_VALUES} values, counting each alias in full"
            )

    def _reject(self, loc: Loc, message: str, line: int | None = None) -> None:
        self.problems.append((line or self.line(loc), loc, message))
        self.broken.add(loc)

    def _value(self, node: yaml.Node, loc: Loc) -> Any:
        self._spend()
        if node.tag not in _PLAIN_TAGS:
            self._reject(
                loc,
                'has a YAML tag, which is not allowed; put quotes around a value that begins with "!"',
            )
            return _UNREAD
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, loc)
        if id(node) in self._open:
            self._reject(loc, "contains itself through an alias")
            return _UNREAD
        self._open.add(id(node))
        value = self._table(node, loc) if isinstance(node, yaml.MappingNode) else self._list(node, loc)
        self._open.discard(id(node))
        return value

    def _list(self, node: yaml.Node, loc: Loc) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self.lines[*loc, index] = item.start_mark.line + 1
            items.append(self._value(item, (*loc, index)))
        return items

    def _table(self, node: yaml.MappingNode, loc: Loc) -> Table:
        table = Table(loc)
        for key, (line, value) in self._pairs(node, loc).items():
            self.lines[*loc, key] = line
            table[key] = self._value(value, (*loc, key))
        return table

    def _pairs(self, node: yaml.MappingNode, loc: Loc) -> dict[str, tuple[int, yaml.Node]]:
        """The entries of a mapping by key, those of its merge key (`<<`) beneath its own."""
        own: dict[str, tuple[int, yaml.Node]] = {}
        merged: dict[str, tuple[int, yaml.Node]] = {}
        for key_node, value_node in node.value:
            self._spend()
            line = key_node.start_mark.line + 1
            if (
                not isinstance(key_node, yaml.ScalarNode)
                or key_node.tag not in _PLAIN_TAGS
                or not encodable(key_node.value)
            ):
                self.problems.append(
                    (
                        line,
                        loc,
                        'has a key that is not plain text; put quotes around a value that begins with "{"',
                    )
                )
            elif key_node.value == "<<" and not key_node.style:
                merged |= {k: v for k, v in self._merge(value_node, loc, line).items() if k not in merged}
            elif key_node.value in own:
                first = own[key_node.value][0]
                message = f"is given twice, first on line {first}; a key may stand only once"
                self.problems.append((line, (*loc, key_node.value), message))
            else:
                own[key_node.value] = (line, value_node)
        return merged | own

    def _merge(self, node: yaml.Node, loc: Loc, line: int) -> dict[str, tuple[int, yaml.Node]]:
        merged: dict[str, tuple[int, yaml.Node]] = {}
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode) or id(source) in self._open:
                self._reject(loc, "has a merge key << that is not an alias of another mapping", line)
                continue
            self._open.add(id(source))
            merged |= {k: v for k, v in self._pairs(source, loc).items() if k not in merged}
            self._open.discard(id(source))
        return merged

    def _scalar(self, node: yaml.ScalarNode, loc: Loc) -> str | None:
        written: str = node.value
        if not node.style and written in _NULLS:
            return None
        value = written
        if self._environ is not None and "$" in written:
            value = Expanded(_REFERENCE.sub(lambda match: self._reference(match, loc), written), written)
        if not encodable(value):
            self._reject(loc, "holds half a surrogate pair, which is not text")
            return _UNREAD
        return value

    def _reference(self, match: re.Match[str], loc: Loc) -> str:
        name = match["name"]
        if name is None:
            return "$"
        if not match["end"] or not _NAME.fullmatch(name):
            message = "has ${ without a variable's name and } after it; a literal ${ is written $${"
            self._reject(loc, message)
        elif self._environ is not None and name in self._environ:
            return self._environ[name]
        else:
            remedy = f"set it, or write $${{{name}}} for the text itself"
            message = f"${{{name}}} is not set in the environment; {remedy}"
            self._reject(loc, message)
        return match[0]


def _compose(text: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the character U+{int(error.character):04X} is not allowed in YAML"
        raise Unparsable(line, "(syntax)", message) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        context = error.context
        if context and mark and error.context_mark and error.context_mark.line != mark.line:
            context += f" that begins on line {error.context_mark.line + 1}"
        message = ", ".join(part for part in (context, error.problem) if part)
        message = f"is not YAML: {_QUOTED_INPUT.sub('', message)}"
        message += next((remedy for part, remedy in _REMEDIES.items() if part in message), "")
        raise Unparsable(mark.line + 1 if mark else 1, "(syntax)", message) from None
    except (ValueError, OverflowError):
        # PyYAML converts the number of an escape, or of a directive, without a look at its size.
        raise Unparsable(1, "(syntax)", "is not YAML: an escape such as \\U has too large a number") from None
    if node is None:
        raise Unparsable(1, "(document)", "is empty")
    return node
