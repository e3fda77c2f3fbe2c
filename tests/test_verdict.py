"""The judgement of the alerting scenarios can go against them."""

import re

import pytest

from tests.live.alerting import Notice, Receiver
from tests.live.verdict import Row, Story, score, table

LONG_AGO = 0.0
IN_A_MOMENT = 4_000_000_000.0  # in 2096


def notice(name: str, status: str = "firing", at: float = IN_A_MOMENT) -> Notice:
    return Notice(at, "one", "pager", f"ModelArts{name}", status, {"project": "prod"}, {})


def judged(came: list[Notice], *musts: tuple[str, str]) -> Row:
    story = Story("it fails", lambda found: found.labels.get("project") == "prod", lambda: came)
    for name, status in musts:
        story.must(f"ModelArts{name}", status)
    return story.row()


def test_what_came_as_it_had_to_is_right() -> None:
    row = judged(
        [notice("UpdateFailed"), notice("UpdateFailed", "resolved")],
        ("UpdateFailed", "firing"),
        ("UpdateFailed", "resolved"),
    )
    assert row == Row("it fails", ["UpdateFailed firing", "UpdateFailed resolved"], [], [])
    assert score([row]) == (1, 1)


@pytest.mark.parametrize(
    ("came", "told"),
    [
        (notice("UpdateStuck"), "UpdateStuck firing at 07:06:40"),
        (notice("UpdateFailed", at=LONG_AGO), "UpdateFailed firing at 00:00:00"),
        (notice("UpdateFailed", "repeated"), "UpdateFailed repeated at 07:06:40"),
    ],
    ids=["another", "too early", "again"],
)
def test_what_was_not_expected_costs_precision_and_what_did_not_come_recall(came: Notice, told: str) -> None:
    row = judged([came], ("UpdateFailed", "firing"))
    assert row == Row("it fails", [], [told], ["UpdateFailed firing"])
    assert score([row]) == (0, 0)


def test_the_same_twice_is_once_too_often() -> None:
    row = judged([notice("UpdateFailed"), notice("UpdateFailed")], ("UpdateFailed", "firing"))
    assert (row.right, row.wrong, row.missing) == (
        ["UpdateFailed firing"],
        ["UpdateFailed firing at 07:06:40"],
        [],
    )
    assert score([row]) == (0.5, 1)


def test_a_story_looks_at_its_own_alone() -> None:
    assert judged([notice("UpdateFailed")._replace(labels={"project": "test"})]) == Row(
        "it fails", [], [], []
    )


def test_the_table_names_what_was_wrong_and_never_rounds_up() -> None:
    well = Row("well", ["UpdateFailed firing"] * 999, [], [])
    badly = Row("badly", [], ["ApiErrors firing"], ["UpdateStuck firing"])
    lines = [line.rstrip() for line in table([well, badly]).splitlines()]
    assert [re.split(" {2,}", line)[-1] for line in lines[2:]] == [
        "none",
        "must not come, but came: ApiErrors firing",
        "must come, but did not: UpdateStuck firing",
        "999 as they had to be",
    ]
    assert "100 %" in lines[1]
    assert lines[-1].count("99 %") == 2


def news(receiver: Receiver, *alerts: tuple[str, str]) -> list[str]:
    """What is kept as news of a message about these."""
    before = len(receiver.notices())
    rows = [{"status": status, "labels": {"alertname": name}, "annotations": {}} for name, status in alerts]
    receiver.take("/one/pager", {"alerts": rows})
    return [f"{found.alertname} {found.status}" for found in receiver.notices()[before:]]


def test_a_message_is_judged_by_what_is_new_in_it_and_one_without_news_is_one_too_many() -> None:
    with Receiver() as receiver:
        assert news(receiver, ("A", "firing")) == ["A firing"]
        assert news(receiver, ("A", "firing"), ("B", "firing")) == ["B firing"]
        assert news(receiver, ("A", "firing"), ("B", "firing")) == ["A repeated", "B repeated"]
        # C was hidden all the time; its end alone would be no reason to tell anybody anything.
        assert news(receiver, ("A", "resolved"), ("C", "resolved")) == ["A resolved"]
        assert news(receiver, ("C", "resolved")) == ["C repeated"]
        assert news(receiver, ("A", "firing")) == ["A firing"]
