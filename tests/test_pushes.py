from dataclasses import dataclass, field

import msgspec
import pytest

from exporter.core.account import Account, Alarm, Trouble
from exporter.core.alarm import with_alarm
from exporter.core.causes import Classifier
from exporter.core.pushes import END_REPEATED_MS, Alerting, Push, Sent, due, is_over, push_of
from exporter.core.records import FAIL, SUCCESS, Model, ServiceRow, Update
from exporter.core.views import ServiceView
from tests.fakes import NOW

SECOND = 1000
MINUTE = 60 * SECOND
ALERTING = Alerting(
    {"team": "ml"}, "http://exporter.example", Classifier(), resend=MINUTE, cause_wait=20 * SECOND
)
KEY = ("prod", "a")
CAUSE = Trouble(NOW - SECOND, "image_pull", "failed to pull image, retry later")


def account(result: str = FAIL, status: str = "failed", **fields: object) -> Account:
    update = Update(NOW - MINUTE, result, (Model(model_name="mnist", model_version="0.0.2"),))
    row = ServiceRow("a", "shop", status=status)
    return Account(row=row, newest=update, settled=update, **fields)  # type: ignore[arg-type]


def alarmed(**fields: object) -> Account:
    return with_alarm(account(**fields), NOW, MINUTE)  # type: ignore[arg-type]


def push(of: Account) -> Push:
    found = push_of(ServiceView("prod", of), ALERTING)
    assert found is not None
    return found


@dataclass
class Peer:
    """An Alertmanager that takes everything, told by hand."""

    sent: dict[tuple[str, str], Sent] = field(default_factory=dict)

    def told(self, what: Push, now: int) -> str:
        messages, again = due({KEY: what}, self.sent, now, ALERTING)
        assert again >= now
        if KEY not in messages:
            return ""
        message = messages[KEY]
        self.sent[KEY] = Sent(message.push, message.resolved, now)
        if message.resolved:
            assert what.began <= message.ends_at <= now
            return "resolved"
        assert message.ends_at == now + 4 * MINUTE
        return "firing"


def test_a_service_that_does_not_fail_has_no_alert() -> None:
    assert push_of(ServiceView("prod", alarmed(result=SUCCESS)), ALERTING) is None


def test_a_service_that_was_stopped_on_purpose_has_no_alert() -> None:
    assert push_of(ServiceView("prod", alarmed(status="stopped")), ALERTING) is None


def test_an_alert_is_known_by_labels_that_hold_no_time_no_host_and_no_cause() -> None:
    assert dict(push(alarmed(cause=CAUSE)).labels) == {
        "alertname": "ModelArtsDeploymentFailure",
        "severity": "critical",
        "source": "modelarts-exporter",
        "project": "prod",
        "service_id": "a",
        "service_name": "shop",
        "team": "ml",
    }


def test_its_annotations_carry_the_cause_and_what_to_do() -> None:
    told = dict(push(alarmed(cause=CAUSE, troubles=(CAUSE,))).annotations)
    assert told["description"] == (
        "The update of service shop in project prod at 2023-11-14T22:12:20Z failed: "
        "failed to pull image, retry later"
    )
    assert (told["cause"], told["cause_reason"]) == (CAUSE.message, "image_pull")
    assert told["cause_time"] == "2023-11-14T22:13:19Z"
    assert told["recent_events"] == "2023-11-14T22:13:19Z failed to pull image, retry later"
    assert told["model"] == "mnist 0.0.2"
    assert told["remedy"]
    assert told["dashboard_url"] == "http://exporter.example/"
    assert told["runbook_url"].endswith("/ModelArtsDeploymentFailure.md")


def test_without_a_cause_it_says_so() -> None:
    told = dict(push(alarmed()).annotations)
    assert told["description"].endswith("failed; the event log names no cause")
    assert told["cause_reason"] == "other"
    assert "cause" not in told


def test_an_end_that_nobody_remembers_the_beginning_of_claims_no_failure() -> None:
    over = msgspec.structs.replace(account(result=SUCCESS), alarm=Alarm(NOW, NOW, NOW + SECOND))
    assert dict(push(over).annotations)["description"] == (
        "The failed deployment of service shop in project prod is over"
    )
    bare = msgspec.structs.replace(over, settled=None)
    assert "model" not in dict(push(bare).annotations)


def test_the_cause_is_awaited_before_the_first_send() -> None:
    peer, what = Peer(), push(alarmed())
    assert peer.told(what, NOW + 19 * SECOND) == ""
    assert peer.told(what, NOW + 20 * SECOND) == "firing"


def test_a_cause_that_is_known_is_told_at_once() -> None:
    assert Peer().told(push(alarmed(cause=CAUSE)), NOW) == "firing"


def test_a_firing_alert_is_sent_again_every_resend_interval() -> None:
    peer, what = Peer(), push(alarmed(cause=CAUSE))
    told = [peer.told(what, NOW + at * SECOND) for at in range(0, 181, 30)]
    assert told == ["firing", "", "firing", "", "firing", "", "firing"]


def test_a_new_text_is_sent_at_once() -> None:
    peer = Peer()
    assert peer.told(push(alarmed(cause=CAUSE)), NOW) == "firing"
    other = push(alarmed(cause=msgspec.structs.replace(CAUSE, message="another")))
    assert peer.told(other, NOW + SECOND) == "firing"


def test_an_end_is_told_one_resend_later_and_for_a_quarter_of_an_hour() -> None:
    peer, what = Peer(), push(alarmed(cause=CAUSE))
    assert peer.told(what, NOW) == "firing"
    ended = msgspec.structs.replace(what, ended=NOW + SECOND)
    told = {at: peer.told(ended, NOW + SECOND + at * MINUTE) for at in range(20)}
    assert [at for at, word in told.items() if word == "resolved"] == list(range(1, 16))
    assert not is_over(ended, NOW + MINUTE, ALERTING)
    assert is_over(ended, NOW + SECOND + MINUTE + END_REPEATED_MS, ALERTING)


def test_after_a_restart_a_firing_alert_is_sent_and_an_ended_one_is_ended() -> None:
    what = push(alarmed(cause=CAUSE))
    assert Peer().told(what, NOW + 5 * MINUTE) == "firing"
    assert Peer().told(msgspec.structs.replace(what, ended=NOW), NOW + 5 * MINUTE) == "resolved"


@pytest.mark.parametrize(("gap", "began"), [(30 * SECOND, NOW - MINUTE), (2 * MINUTE, NOW + MINUTE)])
def test_a_failure_soon_after_an_end_is_the_same_alarm(gap: int, began: int) -> None:
    over = with_alarm(msgspec.structs.replace(account(result=SUCCESS), alarm=alarmed().alarm), NOW, MINUTE)
    assert over.alarm is not None
    assert over.alarm.ended == NOW
    assert with_alarm(over, NOW + MINUTE, MINUTE) is over
    again = msgspec.structs.replace(over, settled=Update(NOW + MINUTE, FAIL), outage_since=None)
    found = with_alarm(again, NOW + gap, MINUTE).alarm
    assert found is not None
    assert (found.began, found.ended) == (began, None)


def test_an_alarm_begins_with_the_first_failure_of_the_outage_and_never_in_the_future() -> None:
    found = alarmed(outage_since=NOW - 30 * SECOND).alarm
    assert found is not None
    assert found.began == NOW - 30 * SECOND
    future = with_alarm(account(outage_since=NOW + MINUTE), NOW, MINUTE).alarm
    assert future is not None
    assert future.began == NOW
