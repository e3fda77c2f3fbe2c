"""What is read first where the rate limit allows less than what is due: see tests/simulate_polling.py."""

import pytest

from exporter.engine.fetch import PollJob
from tests.simulate_polling import CONCURRENCY, HOUR, MINUTE, SECOND, Project, main, measure

# Requests of one read and of one list at 5/s, in ms: nothing can be faster than what goes before it.
READ = 400
LIST_OF_10_000 = 2000


@pytest.mark.parametrize("read_before", [False, True], ids=["first start", "restart"])
@pytest.mark.parametrize("deploying", [0, 300])
def test_a_change_among_ten_thousand_is_in_the_first_batch_after_a_start(
    read_before: bool, deploying: int
) -> None:
    project = Project(10_000, read_before=read_before, deploying=deploying)
    changed = project.change_now()
    begun: list[str] = []
    project.run(MINUTE, lambda job: begun.append(job.service_id))
    if read_before:
        assert changed in begun[:CONCURRENCY]
    else:  # the first list shows what is there; the next one shows changes
        assert project.waits


@pytest.mark.parametrize("read_before", [False, True], ids=["first start", "restart"])
def test_changes_do_not_wait_for_the_sweep(read_before: bool) -> None:
    found = measure(Project(10_000, read_before=read_before), 30 * MINUTE)
    assert found.changes > 200
    # What is under way, a list, and a turn of another: seconds, where a sweep takes more than an hour.
    assert found.median < 2 * CONCURRENCY * READ + LIST_OF_10_000
    assert found.longest < 30 * SECOND


def test_however_much_happens_every_service_is_read_in_the_end() -> None:
    size = 1000
    turns: list[PollJob] = []
    project = Project(size, read_before=True, deploying=size // 10)
    project.run(2 * HOUR, turns.append)
    assert project.all_read_after is not None
    # One turn of four at least is for the quiet ones; a quarter of the requests go to lists at most.
    assert project.all_read_after < 4 * size * READ * 4 / 3


def test_active_services_are_read_in_turn_and_wait_for_one_turn_in_four_of_others() -> None:
    size = 1000
    project = Project(size, read_before=True, deploying=size // 20)
    found = measure(project, HOUR, after=HOUR)
    assert found.deploying_gap < 2 * (size // 20) * READ * 4 / 3


def test_updates_that_are_open_for_ever_cost_what_quiet_services_cost() -> None:
    found = measure(Project(500, read_before=True, stuck=25), HOUR, after=HOUR)
    assert found.stuck_share == pytest.approx(25 / 500, abs=0.02)


@pytest.mark.parametrize("deploying", [0, 5])
def test_audits_of_closed_days_delay_no_change(deploying: int) -> None:
    """The others take two fifths of the requests, or three fifths with deployments."""
    waits = []
    for audits in (False, True):
        project = Project(300, read_before=True, deploying=deploying, audits=audits)
        project.run(6 * HOUR)
        waits.append(project.waits)
        assert project.audited >= (1000 if audits else 0)
    assert len(waits[0]) > 50
    assert waits[0] == waits[1]


def test_a_fleet_that_needs_every_request_is_not_audited() -> None:
    project = Project(2000, read_before=True, audits=True)
    project.run(2 * HOUR)
    assert project.audited == 0


def test_the_table_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main([100])
    assert "first start" in capsys.readouterr().out
