"""Asks pip-audit for the known vulnerabilities of what a lock file names.

Arguments: the lock file, and how to call pip-audit. It fails if there is one, and also if the service did not
answer for each package: pip-audit itself calls that "no known vulnerabilities".
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def main(lock: str, program: Sequence[str]) -> int:
    """Returns the exit code."""
    options = ("--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json")
    asked = subprocess.run(
        [*program, *options, "--requirement", lock], capture_output=True, text=True, check=False
    )
    wanted = len(re.findall(r"^\S+==", Path(lock).read_text(), re.MULTILINE))
    try:
        packages = json.loads(asked.stdout)["dependencies"]
    except ValueError:
        last = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
        problems = [f"pip-audit could not ask the vulnerability service: {last}"]
    else:
        problems = list(findings(packages))
        if unknown := wanted - sum("vulns" in package for package in packages):
            reason = next((each["skip_reason"] for each in packages if "skip_reason" in each), "no answer")
            problems.append(
                f"the vulnerability service did not answer for {unknown} of {wanted} packages: {reason}"
            )
    for problem in problems:
        sys.stderr.write(f"audit of {lock}: {problem}\n")
    if not problems:
        print(f"{lock}: no vulnerability is known of its {wanted} packages")
    return 1 if problems else 0


def findings(packages: list[dict[str, Any]]) -> Iterator[str]:
    for package in packages:
        for found in package.get("vulns", ()):
            fixed = ", ".join(found["fix_versions"]) or "no version"
            yield f"{package['name']} {package['version']} has {found['id']}, which is fixed in {fixed}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
