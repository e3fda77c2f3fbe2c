"""Rules about the source that no linter has; pyproject.toml holds the rules on who may import whom."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {file.relative_to(ROOT).as_posix(): file for file in sorted((ROOT / "exporter").rglob("*.py"))}

# None of these reads a clock (but for the calls that pyproject.toml bans), a file, a socket, the environment
# or a random number. Before you add a name: is that true of it too?
PURE = {
    "base64",
    "bisect",
    "collections",
    "collections.abc",
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


def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


def imports(module: str) -> set[str]:
    nodes = list(ast.walk(tree(module)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


def test_the_core_imports_only_itself_and_pure_modules() -> None:
    found = {module: imports(module) for module in MODULES if module.startswith("exporter/core/")}
    outside = {
        f"{module}: {name}"
        for module, names in found.items()
        for name in names - PURE
        if not name.startswith("exporter.core")
    }
    assert outside == set()


def test_no_value_of_the_core_is_looked_at_by_the_garbage_collector() -> None:
    # A frozen value of values cannot be in a cycle, and there are a hundred of them for each service.
    watched = {
        f"{module}: {node.name}"
        for module in MODULES
        if module.startswith("exporter/core/")
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base) == "msgspec.Struct" for base in node.bases)
        and not any(keyword.arg == "gc" for keyword in node.keywords)
    }
    assert watched == set()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_its_reason_in_one_sentence(module: str) -> None:
    head = (ast.get_docstring(tree(module)) or "").split("\n\n")[0].removesuffix(" Pure.")
    sentence = " ".join(head.split())
    assert sentence.endswith("."), "no sentence at its head"
    assert ". " not in sentence, "more than one sentence before the first empty line"


def test_no_class_name_is_twice_in_a_layer() -> None:
    classes = Counter(
        (layer(module), node.name)
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in classes.items() if count > 1] == []


def layer(module: str) -> str:
    """The folder under exporter; for adapters the one below it, since each is for one outside party."""
    parts = module.split("/")
    return "/".join(parts[1:3] if parts[1] == "adapters" else parts[1:2])


def test_the_architecture_page_names_every_module_and_none_that_is_gone() -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "architecture.md").read_text("utf-8")))
    modules = {name.removeprefix("exporter/") for name in MODULES if not name.endswith("__init__.py")}
    assert modules - named == set()
    known = {*modules, *(name.rpartition("/")[2] for name in modules)}
    assert {name for name in named - known if not (ROOT / name).exists()} == set()
