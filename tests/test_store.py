"""The store through its public door: what is kept, what is refused, and what each failure says."""

import errno
import fcntl
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

from exporter.adapters.store import schema
from exporter.adapters.store.database import (
    CallsChange,
    Change,
    DamagedRecordError,
    PastChange,
    ProjectChange,
    ServiceChange,
    Store,
    StoreError,
)
from exporter.adapters.store.errors import told

PROD = ("prod", "0" * 32)
TEST = ("test", "1" * 32)
DB = "modelarts-exporter.db"
WAL = f"{DB}-wal"
SHARED_MEMORY = f"{DB}-shm"
LOCK = "modelarts-exporter.lock"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data"


def service(service_id: str, blob: bytes = b"account", *, present: bool = True) -> ServiceChange:
    return ServiceChange(PROD, service_id, blob, present)


def contents(directory: Path) -> dict[str, bytes | None]:
    with closing(Store.open(str(directory))) as store:
        return dict(store.services(PROD, present=None))


def fill(directory: Path, services: int = 3) -> None:
    with closing(Store.open(str(directory))) as store:
        changes = [service(f"s{n}", bytes([65 + n]) * 1500) for n in range(services)]
        store.commit([ProjectChange(PROD, b"project"), *changes])


def refusal(directory: Path) -> str:
    with pytest.raises(StoreError) as caught:
        contents(directory)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def python(code: str, directory: Path) -> subprocess.Popen[str]:
    head = "import sys\nfrom exporter.adapters.store.database import *\nP = ('prod', '0' * 32)\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code, str(directory)], stdout=subprocess.PIPE, text=True
    )


# What is kept


@pytest.mark.parametrize("reopened", [False, True])
def test_what_was_committed_is_read_back(directory: Path, reopened: bool) -> None:
    store = Store.open(str(directory))
    store.commit(
        [ProjectChange(PROD, b"p"), service("a", b"1"), ServiceChange(TEST, "a", b"2", present=True)]
    )
    if reopened:
        store.close()
        store = Store.open(str(directory))
    with closing(store):
        assert store.project(PROD) == b"p"
        assert store.project(TEST) is None
        assert list(store.services(PROD)) == [("a", b"1")]
        assert list(store.services(TEST)) == [("a", b"2")]
        assert store.service(TEST, "a") == b"2"
        assert store.service(TEST, "b") is None


def test_two_projects_of_one_name_or_of_one_id_are_kept_apart() -> None:
    projects = [("n", "1"), ("n", "2"), ("m", "1")]
    with closing(Store.open("")) as store:
        store.commit([ProjectChange(p, f"{p}".encode()) for p in projects])
        store.commit([ServiceChange(p, "s", f"{p}".encode(), present=True) for p in projects])
        assert [store.project(p) for p in projects] == [f"{p}".encode() for p in projects]
        assert [store.service(p, "s") for p in projects] == [f"{p}".encode() for p in projects]


def test_the_last_change_of_a_commit_wins() -> None:
    with closing(Store.open("")) as store:
        store.commit([service("a", b"1"), ProjectChange(PROD, b"1")])
        store.commit([service("a", b"2"), service("a", b"3"), ProjectChange(PROD, b"3")])
        assert (store.service(PROD, "a"), store.project(PROD)) == (b"3", b"3")


def test_an_absent_service_is_not_listed_but_keeps_its_account_until_it_comes_back() -> None:
    with closing(Store.open("")) as store:
        store.commit([service("a", b"1"), service("b", b"2")])
        store.commit([service("a", b"1", present=False)])
        assert list(store.services(PROD)) == [("b", b"2")]
        assert list(store.services(PROD, present=False)) == [("a", b"1")]
        assert list(store.services(PROD, present=None)) == [("a", b"1"), ("b", b"2")]
        assert store.service(PROD, "a") == b"1"
        store.commit([service("a", b"1")])
        assert list(store.services(PROD)) == [("a", b"1"), ("b", b"2")]


def test_more_services_than_one_read_takes_are_listed_once_each_even_while_they_change() -> None:
    ids = [f"{n:04}" for n in range(600)]
    with closing(Store.open("")) as store:
        store.commit([service(i) for i in ids])
        seen = []
        for service_id, _ in store.services(PROD):
            seen.append(service_id)
            store.commit([service(service_id, b"a new account, longer than the old")])
        assert seen == ids


@pytest.mark.parametrize("count", [255, 256, 257, 512])
def test_a_list_that_fills_its_last_read_exactly_ends(count: int) -> None:
    with closing(Store.open("")) as store:
        store.commit([service(f"{n:04}") for n in range(count)])
        assert len(list(store.services(PROD))) == count


def test_names_from_outside_are_data_and_never_file_names(directory: Path) -> None:
    hostile = [
        "../../x",
        "/etc/passwd",
        "a'); DROP TABLE service;--",
        'q"',
        "l\nl",
        "n\0n",
        "Ω-模型",
        "%s",
        " ",
    ]
    with closing(Store.open(str(directory))) as store:
        store.commit([ServiceChange((name, name), name, name.encode(), present=True) for name in hostile])
        store.commit([ProjectChange((name, name), name.encode()) for name in hostile])
        assert [store.project((name, name)) for name in hostile] == [name.encode() for name in hostile]
        assert [list(store.services((n, n))) for n in hostile] == [[(n, n.encode())] for n in hostile]
        assert sorted(p.name for p in directory.iterdir()) == [DB, SHARED_MEMORY, WAL, LOCK]
    assert sorted(p.name for p in directory.parent.rglob("*")) == ["data", DB, LOCK]


def test_an_empty_blob_and_an_empty_commit_are_fine(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        store.commit([])
        store.commit([service("a", b""), ProjectChange(PROD, b"")])
    assert contents(directory) == {"a": b""}


def test_an_empty_path_keeps_everything_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(Store.open("")) as store, closing(Store.open("")) as other:
        store.commit([service("a")])
        assert store.size() == 0
        assert list(other.services(PROD)) == []
    assert list(tmp_path.iterdir()) == []


def test_the_directory_and_its_files_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "yet" / "there"
    with closing(Store.open(str(directory))) as store:
        store.commit([service("a")])
        assert directory.stat().st_mode & 0o777 == 0o700
        assert {p.name: p.stat().st_mode & 0o777 for p in directory.iterdir()} == {
            DB: 0o600,
            WAL: 0o600,
            SHARED_MEMORY: 0o600,
            LOCK: 0o600,
        }


@pytest.mark.parametrize(
    ("mode", "wanted"), [(0o755, 0o600), (0o750, 0o600), (0o770, 0o660), (0o2775, 0o660)]
)
def test_the_files_are_for_the_group_too_where_the_group_may_write_the_directory(
    directory: Path, mode: int, wanted: int
) -> None:
    directory.mkdir()
    directory.chmod(mode)
    with closing(Store.open(str(directory))) as store:
        store.commit([service("a")])
        assert {p.name: p.stat().st_mode & 0o777 for p in directory.iterdir()} == dict.fromkeys(
            (DB, WAL, SHARED_MEMORY, LOCK), wanted
        )


def test_a_mode_that_somebody_chose_for_a_file_stays(directory: Path) -> None:
    fill(directory)
    (directory / DB).chmod(0o640)
    contents(directory)
    assert (directory / DB).stat().st_mode & 0o777 == 0o640


def test_one_thread_opens_and_another_uses(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        writer = threading.Thread(target=lambda: store.commit([service("a", b"1")]))
        writer.start()
        writer.join()
        assert store.service(PROD, "a") == b"1"


def test_the_size_counts_the_file_and_its_log(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        store.commit([service("a", bytes(50_000))])
        on_disk = (directory / DB).stat().st_size + (directory / WAL).stat().st_size
        assert store.size() == on_disk > 50_000


def test_closing_twice_does_nothing_and_use_after_it_is_a_mistake_that_shows(directory: Path) -> None:
    store = Store.open(str(directory))
    store.close()
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        store.commit([service("a")])
    assert contents(directory) == {}


# All or nothing, durable


def test_a_change_that_cannot_be_written_takes_its_whole_commit_with_it(directory: Path) -> None:
    unwritable = service("a", None)  # type: ignore[arg-type]  # a mistake of ours, for once
    fill(directory)
    before = contents(directory)
    with closing(Store.open(str(directory))) as store:
        with pytest.raises(TypeError):
            store.commit([service("b"), unwritable])
        with pytest.raises(UnicodeEncodeError):
            store.commit([service("b"), service("\ud800")])
        assert dict(store.services(PROD)) == before
        store.commit([service("c", b"3")])
    assert contents(directory) == before | {"c": b"3"}


def test_a_full_disk_loses_nothing_and_a_later_commit_succeeds(directory: Path) -> None:
    fill(directory)
    before = contents(directory)
    with closing(Store.open(str(directory))) as store:
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        for _ in range(2):
            with pytest.raises(StoreError) as caught:
                store.commit([service("s0", b"new"), service("big", bytes(100_000))])
            assert str(caught.value) == (
                f"{directory / DB} has no room left on its disk (database or disk is full):"
                " free some space; nothing half-written was kept"
            )
            assert dict(store.services(PROD)) == before
        store._connection.execute("PRAGMA max_page_count = 1000000")
        store.commit([service("big", bytes(100_000))])
    assert contents(directory) == before | {"big": bytes(100_000)}


def test_a_write_that_the_system_refuses_loses_nothing_and_a_later_commit_succeeds(directory: Path) -> None:
    child = python(
        """
import resource
store = Store.open(sys.argv[1])
store.commit([ServiceChange(P, 'a', b'1', True)])
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
try:
    store.commit([ServiceChange(P, 'a', b'2', True), ServiceChange(P, 'b', bytes(200_000), True)])
except StoreError as error:
    print(error)
print(list(store.services(P)))
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
store.commit([ServiceChange(P, 'b', b'3', True)])
store.close()
""",
        directory,
    )
    out, _ = child.communicate()
    sentence, kept = out.splitlines()
    assert sentence == (
        f"{directory / DB} could not be read or written by the operating system (disk I/O error):"
        " nothing half-written was kept; look for a full disk, a quota, a size limit, a failing disk or NFS"
    )
    assert kept == "[('a', b'1')]"
    assert contents(directory) == {"a": b"1", "b": b"3"}


def test_a_log_left_behind_by_a_killed_process_is_taken_over(directory: Path) -> None:
    child = python(
        """
import os, signal
store = Store.open(sys.argv[1])
store.commit([ServiceChange(P, 'a', b'1', True)])
os.kill(os.getpid(), signal.SIGKILL)
""",
        directory,
    )
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert (directory / WAL).stat().st_size > 0
    assert contents(directory) == {"a": b"1"}


def test_a_torn_end_of_a_log_left_behind_is_ignored(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        store.commit([service("a", b"1")])
        log = (directory / WAL).read_bytes()
        store.commit([service("a", b"2"), service("b", b"2")])
        torn = (directory / WAL).read_bytes()[:-1000]
        file = (directory / DB).read_bytes()
    assert len(torn) > len(log)
    (directory / DB).write_bytes(file)
    (directory / WAL).write_bytes(torn)
    assert contents(directory) == {"a": b"1"}


def test_every_commit_that_returned_survives_kill_9_whole(directory: Path) -> None:
    # 60 KiB a commit: the log is folded into the file every seventy, so some kills hit that too.
    code = """
store = Store.open(sys.argv[1])
number = int(store.project(P) or b'0')
while True:
    number += 1
    services = [ServiceChange(P, f's{n}', str(number).encode().zfill(20_000), True) for n in range(3)]
    store.commit([*services, ProjectChange(P, str(number).encode())])
    print(number, flush=True)
"""
    moments = random.Random(20)
    printed = 0
    for _ in range(12):
        with python(code, directory) as child:
            assert child.stdout is not None
            for _ in range(moments.randrange(1, 200)):
                printed = int(child.stdout.readline())
            child.kill()
            # What it still had printed; nobody has seen a last line without its end.
            for line in child.stdout.read().splitlines(keepends=True):
                if line.endswith("\n"):
                    printed = int(line)
        with closing(Store.open(str(directory))) as store:
            kept = int(store.project(PROD) or b"0")
            assert printed <= kept <= printed + 1
            assert {blob for _, blob in store.services(PROD)} == {str(kept).encode().zfill(20_000)}


def test_a_commit_waits_for_the_disk(directory: Path) -> None:
    # No test can cut the power, so only the setting of SQLite is checked. 2 is FULL.
    with closing(Store.open(str(directory))) as store:
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_log_does_not_grow_with_the_number_of_commits(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        for n in range(400):
            store.commit([service("a", bytes([n % 256]) * 100_000)])  # 40 MB in all
        assert store.size() < 10_000_000


def test_the_log_of_one_huge_commit_is_cut_back_by_the_next_ones(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        store.commit([service(f"{n}", bytes(20_000)) for n in range(1000)])
        assert (directory / WAL).stat().st_size > 20_000_000
        for _ in range(2):
            store.commit([service("0", b"")])
        assert (directory / WAL).stat().st_size <= 8 * 1024 * 1024


# One owner


def test_a_second_store_on_the_directory_names_the_process_that_has_it(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        assert refusal(directory) == (
            f"{directory} is in use by process {os.getpid()}:"
            " end that one first, or give this one a directory of its own with --storage.path"
        )
        store.commit([service("a", b"1")])
    assert contents(directory) == {"a": b"1"}


def test_a_directory_held_by_another_process_is_free_once_that_is_killed(directory: Path) -> None:
    with python("store = Store.open(sys.argv[1])\nprint('open', flush=True)\ninput()", directory) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        assert f"is in use by process {child.pid}:" in refusal(directory)
        child.kill()
    assert contents(directory) == {}


def test_an_owner_is_not_mistaken_for_an_earlier_one_with_a_longer_number(directory: Path) -> None:
    fill(directory)
    (directory / LOCK).write_text("99999999999\n")
    with closing(Store.open(str(directory))):
        assert f"is in use by process {os.getpid()}:" in refusal(directory)


def test_a_refused_open_leaves_no_file_open(directory: Path) -> None:
    with closing(Store.open(str(directory))):
        before = sorted(Path("/proc/self/fd").iterdir())
        refusal(directory)
        assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_an_owner_that_could_not_write_its_number_still_keeps_others_out(directory: Path) -> None:
    with closing(Store.open(str(directory))):
        (directory / LOCK).write_text("")
        assert f"{directory} is in use by another process:" in refusal(directory)


def test_a_removed_lock_file_does_not_let_a_second_owner_in(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        store.commit([service("a", b"1")])
        (directory / LOCK).unlink()
        assert refusal(directory) == (
            f"{directory} is in use by another process:"
            " end that one first, or give this one a directory of its own with --storage.path"
        )
        store.commit([service("a", b"2")])
    assert contents(directory) == {"a": b"2"}


def test_a_directory_that_cannot_be_locked_itself_is_used_with_the_lock_file_alone(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on NFS, where an exclusive lock needs a file that is open for writing.
    lock = fcntl.flock

    def of_files_alone(file: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", of_files_alone)
    with closing(Store.open(str(directory))):
        assert f"is in use by process {os.getpid()}:" in refusal(directory)
    assert contents(directory) == {}


# Beside other programs


def test_another_program_reads_and_copies_the_store_while_it_is_in_use(
    directory: Path, tmp_path: Path
) -> None:
    with closing(Store.open(str(directory))) as store:
        store.commit([service("a", b"1")])
        copy = tmp_path / "copy" / DB
        copy.parent.mkdir()
        with closing(sqlite3.connect(directory / DB)) as reader, closing(sqlite3.connect(copy)) as target:
            reader.execute("BEGIN")
            assert reader.execute("SELECT service_id, blob FROM service").fetchall() == [("a", b"1")]
            store.commit([service("a", b"2")])
            reader.execute("COMMIT")
            store.commit([service("b", b"3")])
            reader.backup(target)
        store.commit([service("b", b"4")])
        assert contents(copy.parent) == {"a": b"2", "b": b"3"}
    assert contents(directory) == {"a": b"2", "b": b"4"}


def test_a_program_that_holds_the_file_is_waited_for_by_the_next_commits(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        store._connection.execute("PRAGMA busy_timeout = 0")
        with closing(sqlite3.connect(directory / DB, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError) as caught:
                store.commit([service("a", b"1")])
            other.execute("COMMIT")
        assert str(caught.value) == (
            f"{directory / DB} is locked by another program (database is locked): close that program;"
            " on NFS a lock can outlive its program, so keep the store on a local disk"
        )
        store.commit([service("a", b"1")])
    assert contents(directory) == {"a": b"1"}


# Forgetting what was deleted


def test_call_totals_are_kept_apart_and_a_damaged_one_is_told(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        store.commit([CallsChange(PROD, service_id, b"1") for service_id in "ab"])
        store.commit([CallsChange(TEST, "a", b"9")])
        store.commit([CallsChange(PROD, "b", b"2")])
    with closing(sqlite3.connect(directory / DB)) as file, file:
        file.execute("UPDATE calls SET blob = x'00' WHERE project_name = ? AND service_id = 'a'", PROD[:1])
    with closing(Store.open(str(directory))) as store:
        assert dict(store.calls(PROD)) == {"a": None, "b": b"2"}
        assert dict(store.calls(TEST)) == {"a": b"9"}


def forget_all(store: Store, absent_until: int, now: int) -> int:
    """Call it until nothing is left to do; returns how often that was."""
    calls = 1
    while store.forget({PROD, TEST}, absent_until, now):
        calls += 1
    return calls


def test_a_deleted_service_is_forgotten_with_its_texts_and_a_present_one_never_is(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        store.commit([ProjectChange(PROD, b"p")])
        for service_id, present in (("gone", False), ("here", True), ("back", False)):
            store.commit([service(service_id, present=present), PastChange(PROD, service_id, b"texts")])
            store.commit([CallsChange(PROD, service_id, b"calls")])
        store.commit([ServiceChange(TEST, "gone", b"of another project", present=True)])
        forget_all(store, absent_until=0, now=1000)
        store.commit([service("back", b"again")])
        forget_all(store, absent_until=999, now=5000)
        assert store.service(PROD, "gone") == b"account"
    with closing(Store.open(str(directory))) as store:
        forget_all(store, absent_until=1000, now=6000)
        assert store.service(PROD, "gone") is None
        assert store.past(PROD, "gone") is None
        assert dict(store.calls(PROD)) == {"back": b"calls", "here": b"calls"}
        assert dict(store.services(PROD, present=None)) == {"back": b"again", "here": b"account"}
        assert [store.past(PROD, name) for name in ("back", "here")] == [b"texts", b"texts"]
        assert store.service(TEST, "gone") == b"of another project"
        assert store.project(PROD) == b"p"


def test_a_service_that_goes_again_counts_from_its_last_going() -> None:
    with closing(Store.open("")) as store:
        store.commit([service("a", present=False)])
        forget_all(store, absent_until=0, now=1000)
        store.commit([service("a")])
        store.commit([service("a", present=False)])
        forget_all(store, absent_until=1000, now=2000)
        assert store.service(PROD, "a") == b"account"
        forget_all(store, absent_until=2000, now=3000)
        assert store.service(PROD, "a") is None


def test_one_call_forgets_a_page_at_most() -> None:
    with closing(Store.open("")) as store:
        store.commit([service(f"{n:04}", present=n % 3 == 0) for n in range(900)])
        assert forget_all(store, absent_until=0, now=1000) == 3
        assert forget_all(store, absent_until=1000, now=2000) == 3
        assert len(dict(store.services(PROD, present=None))) == 300
        assert forget_all(store, absent_until=1000, now=3000) == 1


def test_since_when_a_service_is_absent_has_a_checksum_too(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        store.commit([service("a", present=False), service("b", present=False)])
        store.forget({PROD}, 0, 1000)
        assert dict(store.services(PROD, present=False)) == {"a": b"account", "b": b"account"}
    with closing(sqlite3.connect(directory / DB)) as file, file:
        file.execute("UPDATE service SET absent_since = 7 WHERE service_id = 'a'")
    assert contents(directory) == {"a": None, "b": b"account"}


def test_a_damaged_service_is_not_made_good_by_the_look_for_what_can_be_forgotten(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        store.commit([service("a", present=False)])
    with closing(sqlite3.connect(directory / DB)) as file, file:
        file.execute("UPDATE service SET blob = x'00'")
    with closing(Store.open(str(directory))) as store:
        assert forget_all(store, absent_until=0, now=1000) == 1
        assert dict(store.services(PROD)) == {"a": None}
        forget_all(store, absent_until=1000, now=2000)
        assert dict(store.services(PROD)) == {}


def of_project(project: tuple[str, str], count: int) -> list[Change]:
    services = [ServiceChange(project, f"{number:04}", b"account", present=True) for number in range(count)]
    return [ProjectChange(project, b"p"), *services, PastChange(project, "0000", b"texts")]


def test_a_project_that_is_not_configured_for_long_is_forgotten_with_its_services(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        store.commit([*of_project(PROD, 3), *of_project(TEST, 600)])
        assert not store.forget({PROD}, 0, 1000)
        assert not store.forget({PROD}, 999, 2000)
        assert store.project(TEST) == b"p"
    with closing(Store.open(str(directory))) as store:
        calls = 0
        while store.forget({PROD}, 1000, 3000):
            calls += 1
            assert store.project(TEST) is None
            # One that comes back meanwhile loses nothing more.
            left = dict(store.services(TEST))
            assert not store.forget({PROD, TEST}, 1000, 3000)
            assert dict(store.services(TEST)) == left
        assert calls == 3
        assert (dict(store.services(TEST, present=None)), store.past(TEST, "0000")) == ({}, None)
        assert (store.project(PROD), len(dict(store.services(PROD)))) == (b"p", 3)
        assert store.past(PROD, "0000") == b"texts"


@pytest.mark.parametrize("written", [False, True])
def test_a_project_that_comes_back_counts_from_its_last_going(written: bool) -> None:
    with closing(Store.open("")) as store:
        store.commit(of_project(PROD, 1))
        store.forget((), 0, 1000)
        if written:
            store.commit([ProjectChange(PROD, b"p")])
        else:
            store.forget({PROD}, 1000, 2000)
        store.forget((), 1000, 3000)
        assert not store.forget((), 2999, 4000)
        assert store.project(PROD) == b"p"
        assert store.forget((), 3000, 5000)
        assert store.project(PROD) is None


def test_a_damaged_project_stays_damaged_until_it_is_forgotten(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        store.commit(of_project(PROD, 1))
    with closing(sqlite3.connect(directory / DB)) as file, file:
        file.execute("UPDATE project SET blob = x'00'")
    with closing(Store.open(str(directory))) as store:
        store.forget((), 0, 1000)
        with pytest.raises(DamagedRecordError):
            store.project(PROD)
        assert store.forget((), 1000, 2000)
        assert store.project(PROD) is None


def test_the_room_of_what_was_forgotten_is_used_again(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        for day in range(20):
            store.commit([service(f"{day}-{n}", bytes(3000), present=False) for n in range(100)])
            forget_all(store, absent_until=day - 2, now=day)
        assert len(dict(store.services(PROD, present=False))) == 200
    assert (directory / DB).stat().st_size < 4 * 100 * 4096


# Versions


def test_a_deleted_service_of_an_older_file_counts_from_the_upgrade(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.mkdir()
    with closing(sqlite3.connect(directory / DB)) as file, file:
        for step in schema.MIGRATIONS[:3]:
            for statement in step:
                file.execute(statement)
        file.execute("PRAGMA user_version = 3")
        checksum = zlib.crc32("\0".join((*PROD, "a", "0")).encode(), zlib.crc32(b"old"))
        file.execute("INSERT INTO service VALUES (?, ?, 'a', 0, ?, ?)", (*PROD, b"old", checksum))
    with closing(Store.open(str(directory))) as store:
        assert dict(store.services(PROD, present=False)) == {"a": b"old"}
        forget_all(store, absent_until=999, now=1000)
        assert store.service(PROD, "a") == b"old"
        forget_all(store, absent_until=1000, now=2000)
        assert store.service(PROD, "a") is None


def test_an_old_file_is_led_forward_with_what_it_holds(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(directory)
    before = contents(directory)
    known = len(schema.MIGRATIONS)
    steps = (("ALTER TABLE project ADD COLUMN x",), ("CREATE TABLE y (z)", "INSERT INTO y VALUES (7)"))
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, *steps))
    assert contents(directory) == before
    assert contents(directory) == before  # each step is taken once
    with closing(sqlite3.connect(directory / DB)) as file:
        assert file.execute("SELECT number, program FROM migration").fetchall() == [
            (n, version("modelarts-exporter")) for n in range(1, known + 3)
        ]
        assert file.execute("SELECT z FROM y").fetchall() == [(7,)]


def test_a_step_that_fails_leaves_the_file_as_the_step_before_left_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(directory)
    before = contents(directory)
    known = len(schema.MIGRATIONS)
    with monkeypatch.context() as patch:
        steps = (("CREATE TABLE x (z)",), ("CREATE TABLE y (z)", "INSERT INTO nowhere VALUES (1)"))
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, *steps))
        assert "does not hold the tables that this program makes (no such table: nowhere)" in refusal(
            directory
        )
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:-1])
        assert contents(directory) == before
    with closing(sqlite3.connect(directory / DB)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (known + 1,)
        tables = {name for (name,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        ours = {"blob_format", "calls", "migration", "past", "past_update", "project", "service"}
        assert tables == ours | {"unlisted", "updated_service", "x"}


def test_a_file_of_a_newer_version_is_refused_and_left_alone(directory: Path) -> None:
    fill(directory)
    newer = len(schema.MIGRATIONS) + 1
    with closing(sqlite3.connect(directory / DB)) as file:
        file.execute(f"INSERT INTO migration VALUES ({newer}, '9.8.7')")
        file.execute(f"PRAGMA user_version = {newer}")
        file.commit()
    assert refusal(directory) == (
        f"{directory / DB} was written by version 9.8.7 of this program, in format {newer};"
        f" version {version('modelarts-exporter')} knows formats up to {newer - 1}:"
        " run the newer version, or give this one a directory of its own with --storage.path"
    )
    with closing(sqlite3.connect(directory / DB)) as file:
        file.execute("DROP TABLE migration")
    assert f"was written by version (unknown) of this program, in format {newer}" in refusal(directory)
    with closing(sqlite3.connect(directory / DB)) as file:
        assert file.execute("SELECT count(*) FROM service").fetchone() == (3,)


# Damage


WAY_OUT = (
    "restore a backup, or move it away together with its -wal file and start again:"
    " whatever the API no longer shows is then not counted"
)


def test_something_else_than_a_database_is_refused_and_left_alone(directory: Path) -> None:
    directory.mkdir()
    (directory / DB).write_bytes(b"once upon a time " * 1000)
    assert refusal(directory) == (
        f"{directory / DB} is not a database, or its head is damaged (file is not a database): {WAY_OUT}"
    )
    assert (directory / DB).read_bytes() == b"once upon a time " * 1000


@pytest.mark.parametrize("keep", [100, 4096, 4096 * 3, 4096 * 4 + 17, -4096])
def test_a_file_that_was_cut_short_is_refused(directory: Path, keep: int) -> None:
    fill(directory)
    (directory / DB).write_bytes((directory / DB).read_bytes()[:keep])
    sentence = refusal(directory)
    assert sentence.startswith(f"{directory / DB} is ")
    assert "damaged" in sentence
    assert sentence.endswith(WAY_OUT)


def test_a_file_that_lacks_its_last_byte_lacks_one_record(directory: Path) -> None:
    fill(directory)
    (directory / DB).write_bytes((directory / DB).read_bytes()[:-1])
    assert list(contents(directory).values()).count(None) == 1


def test_a_page_of_zeros_is_refused(directory: Path) -> None:
    fill(directory)
    raw = (directory / DB).read_bytes()
    (directory / DB).write_bytes(raw[:-4096] + bytes(4096))
    assert refusal(directory).startswith(f"{directory / DB} is damaged (")


def test_an_emptied_file_beside_its_log_is_not_taken_for_a_new_one(directory: Path) -> None:
    with closing(Store.open(str(directory))) as store:
        store.commit([service("a", b"1")])
        log = (directory / WAL).read_bytes()
    (directory / DB).write_bytes(b"")
    (directory / WAL).write_bytes(log)
    assert refusal(directory) == f"{directory / DB} is damaged (it is empty, but its log is not): {WAY_OUT}"
    assert (directory / WAL).read_bytes() == log


def test_an_index_that_no_longer_agrees_with_its_table_is_refused(directory: Path) -> None:
    fill(directory)
    with closing(sqlite3.connect(directory / DB)) as file:
        (page,) = file.execute(
            "SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'service' AND type = 'index'"
        ).fetchone()
    raw = (directory / DB).read_bytes()
    start = (page - 1) * 4096
    index = raw[start : start + 4096]
    assert index.count(b"s2") == 1
    (directory / DB).write_bytes(raw[:start] + index.replace(b"s2", b"s3") + raw[start + 4096 :])
    assert refusal(directory) == (
        f"{directory / DB} is damaged (row 3 missing from index sqlite_autoindex_service_1): {WAY_OUT}"
    )


def test_a_changed_byte_in_a_service_is_found_where_it_is_read_and_hides_no_other(directory: Path) -> None:
    fill(directory)
    before = contents(directory)
    raw = (directory / DB).read_bytes()
    (directory / DB).write_bytes(raw.replace(b"B" * 1500, b"B" * 1499 + b"C"))
    assert contents(directory) == before | {"s1": None}
    with closing(Store.open(str(directory))) as store:
        assert store.service(PROD, "s0") == b"A" * 1500
        with pytest.raises(DamagedRecordError) as caught:
            store.service(PROD, "s1")
        assert str(caught.value) == (
            f"{directory / DB}: the record of 'prod' '{'0' * 32}' 's1' 1 is not what was written"
        )
        store.commit([service("s1", b"anew")])
    assert contents(directory) == before | {"s1": b"anew"}


def test_a_key_that_is_no_longer_text_is_found(directory: Path) -> None:
    fill(directory)
    before = contents(directory)
    (directory / DB).write_bytes((directory / DB).read_bytes().replace(b"s2", b"s\xff"))
    assert contents(directory) == {"s0": before["s0"], "s1": before["s1"], "s\ufffd": None}


def test_a_changed_byte_in_what_is_kept_of_a_project_is_found(directory: Path) -> None:
    fill(directory)
    raw = (directory / DB).read_bytes()
    (directory / DB).write_bytes(raw.replace(b"0project", b"0Project"))
    with closing(Store.open(str(directory))) as store:
        with pytest.raises(DamagedRecordError, match="the record of 'prod'"):
            store.project(PROD)
        assert store.service(PROD, "s0") == b"A" * 1500


def test_a_changed_byte_anywhere_is_either_harmless_or_reported(directory: Path) -> None:
    fill(directory)
    before = contents(directory)
    raw = (directory / DB).read_bytes()
    places = random.Random(11)
    refused = damaged = 0
    for _ in range(300):
        where = places.randrange(len(raw))
        value = places.randrange(256)
        (directory / DB).write_bytes(raw[:where] + bytes([value]) + raw[where + 1 :])
        try:
            with closing(Store.open(str(directory))) as store:
                found = dict(store.services(PROD))
                damaged += None in found.values()
                assert [before[i] for i in found if found[i] is not None] == [b for b in found.values() if b]
                assert set(found) == set(before), f"byte {where} = {value}"
                assert store.project(PROD) == b"project"
        except DamagedRecordError:
            damaged += 1
        except StoreError:
            refused += 1
    assert refused > 5
    assert damaged > 10


def test_a_database_of_another_program_is_refused(directory: Path) -> None:
    directory.mkdir()
    with closing(sqlite3.connect(directory / DB)) as file:
        file.execute("CREATE TABLE project (theirs)")
    assert refusal(directory) == (
        f"{directory / DB} does not hold the tables that this program makes"
        f" (table project already exists): {WAY_OUT}"
    )


# Places that cannot be written


@pytest.fixture
def place() -> Iterator[Path]:
    """A filled directory that other users can reach, as pytest's own cannot be."""
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name))
        yield Path(name)
        Path(name).chmod(0o700)


@contextmanager
def without_power(user: int = 65534) -> Iterator[None]:
    """Nothing is forbidden to root, so root is somebody else for a moment: "nobody", unless told otherwise.

    The group stays root's, as on OpenShift. Who is not root stays who he is.
    """
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(mine)


def test_two_users_of_one_group_use_a_directory_of_a_third_one_after_another(place: Path) -> None:
    # OpenShift: the directory is made with the image, and each pod has a user of its own, of group 0.
    place.chmod(0o755)
    directory = place / "data"
    directory.mkdir()
    directory.chmod(0o770)
    if os.geteuid() == 0:
        os.chown(directory, 65532, 0)
    with without_power(65533):
        fill(directory)
        left_behind = Store.open(str(directory))
        left_behind.commit([service("a")])
        before = {path: (path.read_bytes(), path.stat().st_mode) for path in directory.iterdir()}
        left_behind.close()
        for path, (content, mode) in before.items():  # as after `kill -9`
            path.write_bytes(content)
            path.chmod(mode)
    with without_power(65534):
        with closing(Store.open(str(directory))) as store:
            store.commit([service("b")])
        assert set(contents(directory)) == {"s0", "s1", "s2", "a", "b"}


def test_a_directory_that_may_not_be_made_is_named(place: Path) -> None:
    place.chmod(0o555)
    with without_power():
        assert refusal(place / "data") == (
            f"{place / 'data'} cannot be written (Permission denied):"
            " --storage.path must name a directory with free space that this user may write"
        )


def test_a_file_that_may_only_be_read_is_named(place: Path) -> None:
    place.chmod(0o777)
    (place / LOCK).chmod(0o666)
    (place / DB).chmod(0o444)
    with without_power():
        assert refusal(place) == (
            f"{place / DB} cannot be written (Permission denied):"
            " --storage.path must name a directory with free space that this user may write"
        )


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert refusal(tmp_path / "data").startswith(f"{tmp_path / 'data'} cannot be written (File exists): ")


def test_a_read_only_file_system_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A real one needs a mount, which not every machine allows; its error is the whole difference.
    def read_only(path: Path, *_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    directory.mkdir()
    monkeypatch.setattr(os, "open", read_only)
    assert refusal(directory) == (
        f"{directory / LOCK} cannot be written (Read-only file system):"
        " --storage.path must name a directory with free space that this user may write"
    )


NETWORK = (
    "is on a file system without the locks or the shared memory that SQLite needs, such as NFS ({}):"
    " keep the store on a local disk"
)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ESTALE])
def test_a_file_system_without_locks_is_named(
    directory: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    # A real NFS needs a mount and a server; its error is the whole difference.
    def without_locks(file: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", without_locks)
    assert refusal(directory) == f"{directory / LOCK} {NETWORK.format(os.strerror(code))}"


@pytest.mark.parametrize(
    ("code", "named"),
    [
        (sqlite3.SQLITE_PROTOCOL, True),
        (sqlite3.SQLITE_IOERR_LOCK, True),
        (sqlite3.SQLITE_IOERR_SHMMAP, True),
        (sqlite3.SQLITE_IOERR_SHMSIZE, False),
        (sqlite3.SQLITE_IOERR_WRITE, False),
    ],
)
def test_what_sqlite_says_on_a_file_system_without_its_locks_or_shared_memory_is_named(
    code: int, named: bool
) -> None:
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code
    with pytest.raises(StoreError) as caught, told("data.db"):
        raise error
    assert (str(caught.value) == f"data.db {NETWORK.format('what SQLite says')}") == named
    assert "NFS" in str(caught.value)


def test_a_refused_directory_is_left_unlocked(directory: Path) -> None:
    fill(directory)
    good = (directory / DB).read_bytes()
    (directory / DB).write_bytes(b"no database" * 1000)
    refusal(directory)
    (directory / DB).write_bytes(good)
    assert len(contents(directory)) == 3


# --- the version of the blobs ---------------------------------------------------------------------------


def test_blobs_of_an_older_version_are_rewritten_once_in_every_table(directory: Path) -> None:
    fill(directory)
    converted: list[tuple[str, int]] = []

    def convert(table: str, blob: bytes, version: int) -> bytes:
        converted.append((table, version))
        return b"new " + blob

    before = contents(directory)
    for _ in range(2):
        with closing(Store.open(str(directory))) as store:
            store.upgrade_blobs(2, convert)
    assert {version for _, version in converted} == {1}
    assert {table for table, _ in converted} >= {"project", "service"}
    after = contents(directory)
    assert after != before
    assert all(blob.startswith(b"new ") and not blob.startswith(b"new new ") for blob in _blobs(directory))


def test_blobs_of_a_newer_version_are_refused_and_left_alone(directory: Path) -> None:
    fill(directory)
    with closing(Store.open(str(directory))) as store:
        store.upgrade_blobs(3, lambda _table, blob, _version: blob)
    before = contents(directory)
    with (
        closing(Store.open(str(directory))) as store,
        pytest.raises(StoreError, match=r"in format 3; .* knows formats up to 2"),
    ):
        store.upgrade_blobs(2, lambda _table, blob, _version: b"lost")
    assert contents(directory) == before


def _blobs(directory: Path) -> list[bytes]:
    with closing(sqlite3.connect(directory / DB)) as file:
        return [
            blob
            for table in ("project", "service", "past")
            for (blob,) in file.execute(f"SELECT blob FROM {table}")
        ]
