"""Programs of the newest Debian release, downloaded from the mirror of this machine's apt."""

import fcntl
import os
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelarts-exporter" / "newest"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# Newest first: a mirror may not have the first one, or its programs may need a newer C library.
SUITES = ("sid", "testing", "stable")
# As for the base of the image test: used for a week, so that it is never old.
KEPT_SECONDS = 7 * 24 * 3600
# The lists of one suite are some 10 MB and the package some 20.
PATIENCE_SECONDS = 90


class CannotBeFetchedError(Exception):
    """Says in one sentence why the newest version is not available."""


@cache
def newest(package: str, program: str) -> Path:
    """The program of the newest package that runs here. Raises `CannotBeFetchedError`."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise CannotBeFetchedError("this machine has no apt-get, so it cannot ask Debian's archives")
    CACHE.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes, which share the cache: one downloads, the others wait for it.
    with (CACHE / f"{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _kept_or_fetched(package, program)


def _kept_or_fetched(package: str, program: str) -> Path:
    place = CACHE / package
    path = place / "root" / "usr" / "bin" / program
    made = place / "made"
    if path.exists() and made.exists() and time.time() - made.stat().st_mtime < KEPT_SECONDS:
        return path
    mirror = _mirror()
    reasons = []
    for suite in SUITES:
        shutil.rmtree(place, ignore_errors=True)
        try:
            _fetch(place, mirror, suite, package)
            _run([str(path), "--version"])
        except subprocess.SubprocessError as error:
            said = getattr(error, "stderr", "") or ""
            reasons.append(f"{suite}: {(said.strip().splitlines() or [str(error)])[0]}")
        else:
            made.touch()
            return path
    raise CannotBeFetchedError(f"{mirror} gave no {package} that runs here ({'; '.join(reasons)})")


def _mirror() -> str:
    """Where the machine's own apt gets Debian's main part from."""
    wanted = "$(REPO_URI) $(COMPONENT) $(ORIGIN) $(LABEL)"
    asked = _run(["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"])
    for line in asked.splitlines():
        uri, *rest = line.split()
        if rest == ["main", "Debian", "Debian"]:
            return uri
    raise CannotBeFetchedError("apt has no list of a Debian mirror; run apt-get update")


def _fetch(place: Path, mirror: str, suite: str, package: str) -> None:
    for folder in ("lists/partial", "cache/archives/partial"):
        (place / folder).mkdir(parents=True)
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    (place / "sources.list").write_text(f"deb {signed}{mirror} {suite} main\n")
    options = {
        "Dir::Etc::sourcelist": place / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": place / "lists",
        "Dir::State::status": os.devnull,
        "Dir::Cache": place / "cache",
        "APT::Update::Error-Mode": "any",
        "APT::Sandbox::User": "",  # apt's own user may not have access to the cache
    }
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    _run([*apt, "update"])
    _run([*apt, "download", package], cwd=place)
    (archive,) = place.glob("*.deb")
    _run(["dpkg", "-x", str(archive), str(place / "root")])
    shutil.rmtree(place / "lists")


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    return done.stdout
