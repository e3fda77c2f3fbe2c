"""The shape of the package, read from its source: who may import whom, and what a module looks like."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "exporter"

# Nothing in these reads a clock, a file, a socket, chance or the environment (`datetime` does so only
# in the calls below). A new name here is a decision: is it pure?
PURE = {
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "msgspec",
    "operator",
    "re",
    "typing",
    "unicodedata",
    "urllib.parse",
}
IMPURE_BUILTINS = {"open", "input", "print", "exec", "eval", "__import__", "breakpoint"}
CLOCK_CALLS = {"now", "utcnow", "today"}  # of `datetime`; elsewhere `now` is an argument, never a call

# What each area may use of the package beside itself; what is not named here is the shell around them.
USES = {
    "core": set[str](),
    "adapters": {"core"},
    "config": {"core"},
    "emulator": set[str](),
}
EMULATOR_USERS = {"cli", "demo"}

# A folder of the adapters is one outside party, and so is a module that stands alone; but for these together.
PARTIES: dict[str, set[str]] = {}
# How one request goes out over HTTP, to whomever: no outside party, and every adapter may use it.
WIRE = "http_client"
PARTY_OF = {module: party for party, modules in PARTIES.items() for module in modules}

LONGEST = 320  # lines: past that a module has two reasons to change


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name in parts, and each of its imports as line and dotted name."""

    file: str
    parts: tuple[str, ...]
    text: str
    tree: ast.Module
    imports: tuple[tuple[int, str], ...]

    @property
    def area(self) -> str:
        """The folder or file directly under the package, "" for the package itself."""
        return self.parts[1] if len(self.parts) > 1 else ""


def package(root: Path) -> list[Module]:
    files = sorted((root / PACKAGE).rglob("*.py"))
    parts = {file: _parts(file.relative_to(root)) for file in files}
    known = {".".join(p) for p in parts.values()}
    found = []
    for file in files:
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text)
        imports = tuple(_imports(tree, known))
        found.append(Module(file.relative_to(root).as_posix(), parts[file], text, tree, imports))
    return found


def _parts(file: Path) -> tuple[str, ...]:
    parts = file.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def _imports(tree: ast.Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Every import, wherever it stands; `from a import b` is of a.b where that is a module of ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            inner = {f"{source}.{alias.name}" for alias in node.names}
            yield from ((node.lineno, name) for name in sorted((inner & known) or {source}))
            if inner & known and inner - known:  # names of the package itself beside its modules
                yield node.lineno, source


def imports_are_absolute(module: Module) -> Iterator[str]:
    for line, name in module.imports:
        if name.startswith("."):
            yield f"{module.file}:{line}: write {name} in full"


def the_core_is_pure(module: Module) -> Iterator[str]:
    if module.area != "core":
        return
    for line, name in module.imports:
        top = name.split(".")[0]
        if top != PACKAGE and top not in PURE and name not in PURE:
            yield f"{module.file}:{line}: {name} is not known to be pure"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in IMPURE_BUILTINS:
            yield f"{module.file}:{node.lineno}: {node.id} reaches outside"
        if isinstance(node, ast.Attribute) and node.attr in CLOCK_CALLS and _is_clock(node.value):
            yield f"{module.file}:{node.lineno}: {ast.unparse(node)} reads a clock"


def _is_clock(value: ast.expr) -> bool:
    return ast.unparse(value).rsplit(".", maxsplit=1)[-1] in {"datetime", "date"}


def each_area_keeps_to_what_it_may_use(module: Module) -> Iterator[str]:
    if module.area not in USES:
        return
    for line, name in module.imports:
        top, _, rest = name.partition(".")
        area = rest.split(".")[0]
        if top == PACKAGE and area not in USES[module.area] | {module.area}:
            yield f"{module.file}:{line}: {module.area} must not use {name}"


def adapters_do_not_import_one_another(module: Module) -> Iterator[str]:
    if module.area != "adapters" or len(module.parts) < 3:
        return
    own = _party(module.parts[2])
    for line, name in module.imports:
        parts = name.split(".")
        if parts[:2] == [PACKAGE, "adapters"] and len(parts) > 2 and _party(parts[2]) not in (own, WIRE):
            yield f"{module.file}:{line}: {own} must not know {_party(parts[2])}"


def _party(adapter: str) -> str:
    return PARTY_OF.get(adapter, adapter)


def only_the_demo_knows_the_emulator(module: Module) -> Iterator[str]:
    if module.area in EMULATOR_USERS | {"emulator"}:
        return
    for line, name in module.imports:
        if name.split(".")[:2] == [PACKAGE, "emulator"]:
            yield f"{module.file}:{line}: the emulator is for {' and '.join(sorted(EMULATOR_USERS))} alone"


def every_module_says_its_reason_in_one_sentence(module: Module) -> Iterator[str]:
    head = (ast.get_docstring(module.tree) or "").split("\n\n")[0].removesuffix(" Pure.")
    sentence = " ".join(head.split())
    if not sentence.endswith("."):
        yield f"{module.file}:1: no sentence at its head"
    elif ". " in sentence:
        yield f"{module.file}:1: more than one sentence before the first empty line"


def no_module_is_too_long(module: Module) -> Iterator[str]:
    lines = module.text.count("\n")
    if lines > LONGEST:
        yield f"{module.file}:{lines}: longer than {LONGEST} lines"


Rule = Callable[[Module], Iterator[str]]
RULES: tuple[Rule, ...] = (
    imports_are_absolute,
    the_core_is_pure,
    each_area_keeps_to_what_it_may_use,
    adapters_do_not_import_one_another,
    only_the_demo_knows_the_emulator,
    every_module_says_its_reason_in_one_sentence,
    no_module_is_too_long,
)


@pytest.fixture(scope="module")
def ours() -> list[Module]:
    return package(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule: Rule, ours: list[Module]) -> None:
    found = [finding for module in ours for finding in rule(module)]
    assert not found, "\n".join(found)


def test_the_table_of_parties_names_only_adapters_that_exist(ours: list[Module]) -> None:
    assert set(PARTY_OF) <= {
        module.parts[2] for module in ours if module.area == "adapters" and module.parts[2:]
    }


def test_the_package_is_really_read(ours: list[Module]) -> None:
    modules = {".".join(module.parts): module for module in ours}
    assert {
        "exporter",
        "exporter.core",
        "exporter.core.accounting.ledger",
        "exporter.adapters.store.lock",
    } <= set(modules)
    database = modules["exporter.adapters.store.database"]
    assert "exporter.adapters.store.lock" in {name for _, name in database.imports}


SOUND = {
    "__init__.py": '"""A package."""\n',
    "cli.py": '"""It builds."""\nfrom exporter import emulator\nimport exporter.adapters.web.app\n',
    "config/keys.py": '"""Keys."""\nfrom exporter.core.values import x\nfrom exporter.config import more\n',
    "config/more.py": '"""More keys."""\n',
    "core/__init__.py": '"""The core."""\n',
    "core/values.py": '"""Values.\n\nTwo sentences. Fine here."""\nimport msgspec\nimport collections.abc\n',
    "core/times.py": '"""Times."""\nfrom datetime import UTC, datetime\ndatetime.fromtimestamp(now, UTC)\n',
    "adapters/__init__.py": '"""The adapters."""\n',
    "adapters/store/__init__.py": '"""The disk."""\n',
    "adapters/store/database.py": '"""Files."""\nfrom exporter.adapters.store import lock\nopen("x")\n',
    "adapters/store/lock.py": '"""The lock, as a value. Pure."""\nfrom exporter.core import values\n',
    "adapters/prometheus/deflate.py": '"""Bytes."""\nimport zlib\n',
    "adapters/prometheus/exposition.py": '"""Lines."""\nfrom exporter.adapters import http_client\n',
    "adapters/http_client.py": '"""The wire."""\n',
    "adapters/web/app.py": '"""Pages."""\nfrom exporter.core import *\n',
    "emulator/__init__.py": '"""A cloud."""\nfrom exporter.emulator.clock import tick\nimport time\n',
    "emulator/clock.py": '"""Its clock."""\n' + "\n" * 319,
}

BROKEN = [
    (imports_are_absolute, "core/x.py", "from . import values", "write . in full"),
    (imports_are_absolute, "core/x.py", "from .values import x", "write .values in full"),
    (the_core_is_pure, "core/x.py", "import time", "time is not known to be pure"),
    (the_core_is_pure, "core/x.py", "import os.path", "os.path is not known to be pure"),
    (the_core_is_pure, "core/x.py", "from socket import socket", "socket is not known to be pure"),
    (the_core_is_pure, "core/x.py", "def f():\n  import random", "random is not known to be pure"),
    (the_core_is_pure, "core/x.py", "if x:\n  import threading", "threading is not known to be pure"),
    (the_core_is_pure, "core/x.py", "import logging", "logging is not known to be pure"),
    (the_core_is_pure, "core/x.py", "import structlog", "structlog is not known to be pure"),
    (the_core_is_pure, "core/x.py", "import requests", "requests is not known to be pure"),
    (the_core_is_pure, "core/__init__.py", "import sqlite3", "sqlite3 is not known to be pure"),
    (the_core_is_pure, "core/deep/er/x.py", "import time", "time is not known to be pure"),
    (the_core_is_pure, "core/x.py", "open('x')", "open reaches outside"),
    (the_core_is_pure, "core/x.py", "f = open", "open reaches outside"),
    (the_core_is_pure, "core/x.py", "print()", "print reaches outside"),
    (the_core_is_pure, "core/x.py", "__import__('time')", "__import__ reaches outside"),
    (the_core_is_pure, "core/x.py", "datetime.now(UTC)", "datetime.now reads a clock"),
    (the_core_is_pure, "core/x.py", "datetime.datetime.utcnow()", "datetime.datetime.utcnow reads a clock"),
    (the_core_is_pure, "core/x.py", "f = date.today", "date.today reads a clock"),
    (
        each_area_keeps_to_what_it_may_use,
        "core/x.py",
        "from exporter.adapters.prometheus import exposition",
        "core must not use exporter.adapters.prometheus.exposition",
    ),
    (
        each_area_keeps_to_what_it_may_use,
        "core/x.py",
        "import exporter.config.keys",
        "core must not use exporter.config.keys",
    ),
    (each_area_keeps_to_what_it_may_use, "core/x.py", "import exporter", "core must not use exporter"),
    (
        each_area_keeps_to_what_it_may_use,
        "adapters/x.py",
        "from exporter.config import keys",
        "adapters must not use exporter.config.keys",
    ),
    (
        each_area_keeps_to_what_it_may_use,
        "adapters/x.py",
        "from exporter import core, cli",
        "adapters must not use exporter.cli",
    ),
    (
        each_area_keeps_to_what_it_may_use,
        "adapters/x.py",
        "from exporter.engine.poller import Poller",
        "adapters must not use exporter.engine.poller",
    ),
    (
        each_area_keeps_to_what_it_may_use,
        "config/x.py",
        "from exporter.adapters.web.app import y",
        "config must not use exporter.adapters.web.app",
    ),
    (
        each_area_keeps_to_what_it_may_use,
        "emulator/x.py",
        "from exporter.core.values import y",
        "emulator must not use exporter.core.values",
    ),
    (
        adapters_do_not_import_one_another,
        "adapters/store/x.py",
        "from exporter.adapters.web import app",
        "store must not know web",
    ),
    (
        adapters_do_not_import_one_another,
        "adapters/x.py",
        "import exporter.adapters.store.lock",
        "x must not know store",
    ),
    (
        adapters_do_not_import_one_another,
        "adapters/web/x.py",
        "from exporter.adapters.prometheus import deflate",
        "web must not know prometheus",
    ),
    (
        only_the_demo_knows_the_emulator,
        "poller.py",
        "from exporter import emulator",
        "the emulator is for cli and demo alone",
    ),
    (
        only_the_demo_knows_the_emulator,
        "config/x.py",
        "import exporter.emulator.clock",
        "the emulator is for cli and demo alone",
    ),
]


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def findings(root: Path) -> list[tuple[str, str]]:
    return [
        (rule.__name__, finding) for module in package(root) for rule in RULES for finding in rule(module)
    ]


def test_a_sound_package_breaks_no_rule(tmp_path: Path) -> None:
    write(tmp_path, SOUND)
    assert findings(tmp_path) == []


@pytest.mark.parametrize(("rule", "name", "code", "what"), BROKEN)
def test_a_broken_rule_is_told_with_its_place(
    tmp_path: Path, rule: Rule, name: str, code: str, what: str
) -> None:
    write(tmp_path, SOUND | {name: f'"""A reason."""\n{code}\n'})
    found = [finding for of, finding in findings(tmp_path) if of == rule.__name__]
    line = 1 + len(code.splitlines())
    assert found == [f"exporter/{name}:{line}: {what}"]


@pytest.mark.parametrize(
    ("head", "what"),
    [
        ("", "no sentence at its head"),
        ('"""A title"""', "no sentence at its head"),
        ("# A comment.", "no sentence at its head"),
        ('"""One. Two."""', "more than one sentence before the first empty line"),
        ('"""One.\nTwo."""', "more than one sentence before the first empty line"),
    ],
)
def test_a_module_without_its_one_sentence_is_told(tmp_path: Path, head: str, what: str) -> None:
    write(tmp_path, SOUND | {"core/x.py": f"{head}\n"})
    assert findings(tmp_path) == [
        (every_module_says_its_reason_in_one_sentence.__name__, f"exporter/core/x.py:1: {what}")
    ]


def test_a_module_of_321_lines_is_told(tmp_path: Path) -> None:
    write(tmp_path, SOUND | {"core/x.py": '"""A reason."""\n' + "\n" * 320})
    assert findings(tmp_path) == [
        (no_module_is_too_long.__name__, "exporter/core/x.py:321: longer than 320 lines")
    ]
