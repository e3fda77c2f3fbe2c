"""Prints the licence of everything in an SBOM (CycloneDX, JSON), and fails if one may not be shipped."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Each lets an image of an Apache-2.0 program hold an unchanged copy. MPL-2.0 (certifi) asks for the source of
# its own files only, and the source is what a Python package is.
ALLOWED = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MPL-2.0", "PSF-2.0"}
# Packages that name no identifier of SPDX, only a classifier; "BSD" is one of the two above.
CLASSIFIERS = {"License :: OSI Approved :: BSD License"}


def licences(component: dict[str, Any]) -> list[str]:
    """The identifiers of a component, or its classifiers if it has no identifier."""
    found: list[dict[str, Any]] = component.get("licenses", [])
    identifiers = [word for each in found for word in spdx(each)]
    return identifiers or [each["license"]["name"] for each in found if "name" in each.get("license", {})]


def spdx(entry: dict[str, Any]) -> Iterator[str]:
    if "expression" in entry:
        words = re.findall(r"[\w.+-]+", entry["expression"])
        yield from (word for word in words if word not in ("AND", "OR"))
    elif "id" in entry["license"]:
        yield entry["license"]["id"]


def main(sbom: str) -> int:
    """Returns the exit code."""
    refused = 0
    for component in json.loads(Path(sbom).read_text())["components"]:
        found = licences(component)
        fits = bool(found) and set(found) <= ALLOWED | CLASSIFIERS
        refused += not fits
        print(f"{component['name']} {component['version']}: {', '.join(found) or 'none named'}")
        if not fits:
            sys.stdout.flush()
            sys.stderr.write(
                f"{component['name']}: this licence is none of those that tests/package/licences.py allows\n"
            )
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
