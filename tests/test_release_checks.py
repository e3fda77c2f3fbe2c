"""`make release-check` finds what must not be published, and does not take silence for a good answer."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.package import audit, licences

LOCK = "# why\nh11==0.16.0 \\\n    --hash=sha256:aa\nidna==3.20 \\\n    --hash=sha256:bb\n"
SOUND = [{"name": "h11", "version": "0.16.0", "vulns": []}, {"name": "idna", "version": "3.20", "vulns": []}]
# As pip-audit 2.10 prints it; its exit code is then 0.
SKIPPED = {
    "name": "idna",
    "skip_reason": "Dependency not found on PyPI and could not be audited: idna (3.20)",
}
FOUND = {"id": "PYSEC-2026-1", "fix_versions": ["3.21", "4.0"], "aliases": [], "description": ""}


@pytest.fixture(name="lock")
def _lock(tmp_path: Path) -> str:
    file = tmp_path / "requirements.txt"
    file.write_text(LOCK)
    return str(file)


def pip_audit(printed: str, said: str = "") -> list[str]:
    """A program that answers as pip-audit does."""
    return [sys.executable, "-c", f"import sys; print({printed!r}); sys.stderr.write({said!r})"]


def report(packages: list[dict[str, Any]]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_an_audit_without_a_finding_passes(lock: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(lock, pip_audit(report(SOUND))) == 0
    assert capsys.readouterr() == (f"{lock}: no vulnerability is known of its 2 packages\n", "")


@pytest.mark.parametrize(
    ("printed", "said", "problem"),
    [
        (
            report([SOUND[0], {**SOUND[1], "vulns": [FOUND]}]),
            "Found 1 known vulnerability in 1 package\n",
            "idna 3.20 has PYSEC-2026-1, which is fixed in 3.21, 4.0",
        ),
        (
            report([SOUND[0], SKIPPED]),
            "No known vulnerabilities found\n",
            f"the vulnerability service did not answer for 1 of 2 packages: {SKIPPED['skip_reason']}",
        ),
        (
            report([SOUND[0]]),
            "No known vulnerabilities found\n",
            "the vulnerability service did not answer for 1 of 2 packages: no answer",
        ),
        (
            "",
            "Traceback\nConnectionError: host unreachable\n",
            "pip-audit could not ask the vulnerability service: ConnectionError: host unreachable",
        ),
        ("", "", "pip-audit could not ask the vulnerability service: it said nothing"),
    ],
)
def test_an_audit_fails_with_a_sentence_for_a_finding_and_for_a_missing_answer(
    lock: str, printed: str, said: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main(lock, pip_audit(printed, said)) == 1
    assert capsys.readouterr() == ("", f"audit of {lock}: {problem}\n")


def component(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"name": "part", "version": "1", "licenses": list(entries)}


CLASSIFIED = {"license": {"name": "License :: OSI Approved :: BSD License"}}
FREE_TEXT = {"license": {"name": "see the file LICENSE"}}


@pytest.mark.parametrize(
    ("part", "code", "printed"),
    [
        (component({"license": {"id": "MIT"}}), 0, "MIT"),
        (component({"license": {"id": "MIT"}}, FREE_TEXT), 0, "MIT"),
        (
            component({"expression": "(MIT OR Apache-2.0) AND BSD-2-Clause"}),
            0,
            "MIT, Apache-2.0, BSD-2-Clause",
        ),
        (component(CLASSIFIED), 0, "License :: OSI Approved :: BSD License"),
        (component({"license": {"id": "AGPL-3.0-only"}}), 1, "AGPL-3.0-only"),
        (component({"expression": "MIT AND GPL-2.0-only"}), 1, "MIT, GPL-2.0-only"),
        (component(FREE_TEXT), 1, "see the file LICENSE"),
        ({"name": "part", "version": "1"}, 1, "none named"),
    ],
)
def test_a_licence_is_listed_and_refused_if_it_is_none_of_the_known_ones(
    part: dict[str, Any], code: int, printed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sbom = tmp_path / "sbom.json"
    sbom.write_text(json.dumps({"components": [part]}))
    assert licences.main(str(sbom)) == code
    out, err = capsys.readouterr()
    assert out == f"part 1: {printed}\n"
    assert ("part: this licence is none of those" in err) == bool(code)
