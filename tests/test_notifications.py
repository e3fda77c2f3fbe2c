"""What is sent to an Alertmanager about a failed deployment, and when."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.accounting.labels import ServiceView
from exporter.core.accounting.service_state import AlertState, FailureEvent, ServiceState
from exporter.core.alerting import notifications
from exporter.core.alerting.alert_state import with_alert_state
from exporter.core.alerting.notifications import (
    END_REPEATED_MS,
    HEARTBEAT_MS,
    LARGEST_BATCH,
    LONGEST_DOWNTIME_MS,
    Alert,
    Key,
    LastSend,
    NotifierOptions,
    PostableAlert,
    alert_of,
    batches,
    due,
    is_over,
    postable,
    with_end_ready,
)
from exporter.core.classifier.classifier import Classifier, CustomRule
from exporter.core.classifier.evidence import Evidence
from exporter.core.classifier.remedies import REMEDIES
from exporter.core.links import LinkOptions
from exporter.core.records import FAIL, SUCCESS, Model, ServiceRow, Update
from tests.fakes import NOW

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
RULE = CustomRule("gpu_driver", "xid 79", "Reboot the node pool.")
LINKS = LinkOptions("http://exporter.example")
ALERTING = NotifierOptions({"team": "ml"}, LINKS, Classifier([RULE]), resend=MINUTE, cause_wait=20 * SECOND)
LEASE = LONGEST_DOWNTIME_MS + 4 * MINUTE
KEY = ("prod", "a")
CAUSE = FailureEvent(NOW - SECOND, "image_pull", "failed to pull image, retry later")


def state(result: str = FAIL, status: str = "failed", **fields: object) -> ServiceState:
    update = Update(NOW - MINUTE, result, (Model(model_name="mnist", model_version="0.0.2"),))
    row = ServiceRow("a", "shop", status=status)
    return ServiceState(row=row, newest=update, settled=update, **fields)  # type: ignore[arg-type]


def alerting(**fields: object) -> ServiceState:
    return with_alert_state(state(**fields), NOW, MINUTE)  # type: ignore[arg-type]


def alert(of: ServiceState, alerting: NotifierOptions = ALERTING) -> Alert:
    found = alert_of(ServiceView("prod", of), alerting)
    assert found is not None
    return found


def annotations_of(of: ServiceState) -> dict[str, str]:
    return dict(alert(of).annotations)


FIRING = alert(alerting(cause=CAUSE))


def ended(what: Alert, at: int, scrape_gap: int = 0) -> Alert:
    return with_end_ready(msgspec.structs.replace(what, resolved_at=at), ALERTING, scrape_gap)


# --- what it says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("quiet", [alerting(result=SUCCESS), alerting(status="stopped")])
def test_a_service_that_does_not_fail_or_was_stopped_on_purpose_has_no_alert(quiet: ServiceState) -> None:
    assert alert_of(ServiceView("prod", quiet), ALERTING) is None


def test_an_alert_is_known_by_labels_that_hold_no_time_no_host_and_no_cause() -> None:
    assert dict(FIRING.labels) == {
        "alertname": "ModelArtsDeploymentFailure",
        "severity": "critical",
        "source": "modelarts-exporter",
        "project": "prod",
        "service_id": "a",
        "service_name": "shop",
        "team": "ml",
    }


def test_two_replicas_that_saw_it_at_other_moments_and_know_other_causes_give_it_the_same_labels() -> None:
    other = state(cause=FailureEvent(NOW, "quota", "quota"), outage_since=NOW - 7)
    replica = with_alert_state(other, NOW + 40 * SECOND, MINUTE)
    elsewhere = ALERTING._replace(links=LinkOptions("http://b.example"))
    assert alert(replica, elsewhere).labels == FIRING.labels
    assert alert(replica, elsewhere) != FIRING


def test_an_empty_label_is_left_out_because_alertmanager_drops_it() -> None:
    unnamed = msgspec.structs.replace(alerting(), row=ServiceRow("a", ""))
    assert "service_name" not in dict(alert(unnamed).labels)
    assert "service a in project prod" in annotations_of(unnamed)["description"]


@pytest.mark.parametrize(
    ("known", "wait"),
    [
        (None, ALERTING.cause_wait),
        (FailureEvent(NOW, "other", "something", Evidence.NONE), ALERTING.cause_wait),
        (FailureEvent(NOW, "crash", "Failed to start service shop.", Evidence.SUMMARY), ALERTING.cause_wait),
        (FailureEvent(NOW, "health_check", "health check failed", Evidence.SYMPTOM), 0),
        (FailureEvent(NOW, "out_of_memory", "out of memory", Evidence.SPECIFIC), 0),
    ],
)
def test_an_alert_waits_for_evidence_and_not_for_a_summary(known: FailureEvent | None, wait: int) -> None:
    found = alert(alerting(cause=known))
    assert found.ready_at == found.active_at + wait


def test_annotations_carry_the_cause_and_what_to_do() -> None:
    assert annotations_of(alerting(cause=CAUSE, failure_events=(CAUSE,))) == {
        "summary": "The deployment of a ModelArts service failed.",
        "description": "The update of service shop in project prod at 2023-11-14T22:12:20Z failed: "
        "failed to pull image, retry later",
        "cause": "failed to pull image, retry later",
        "cause_reason": "image_pull",
        "cause_time": "2023-11-14T22:13:19Z",
        "remedy": REMEDIES["image_pull"],
        "recent_events": "2023-11-14T22:13:19Z failed to pull image, retry later",
        "model": "mnist 0.0.2",
        "runbook_url": "http://exporter.example/runbooks/ModelArtsDeploymentFailure",
        "dashboard_url": "http://exporter.example/services/a?project=prod",
    }


def test_without_a_cause_it_says_so() -> None:
    said = annotations_of(alerting())
    assert said["description"].endswith("failed; the event log names no cause")
    assert (said["cause_reason"], said["remedy"]) == ("other", REMEDIES["other"])
    assert {"cause", "cause_time", "recent_events"}.isdisjoint(said)


@pytest.mark.parametrize(
    ("reason", "text", "remedy"),
    [
        ("gpu_driver", "Xid 79 on node 3", "Reboot the node pool."),
        # The part with the reason was cut off, or removed as a secret.
        ("quota", "a long introduction…", REMEDIES["quota"]),
        ("gpu_driver", "a long introduction…", ""),
    ],
)
def test_the_remedy_is_that_of_the_reason(reason: str, text: str, remedy: str) -> None:
    assert annotations_of(alerting(cause=FailureEvent(NOW, reason, text))).get("remedy", "") == remedy


def test_only_the_last_three_events_are_sent() -> None:
    failure_events = tuple(FailureEvent(NOW + at * SECOND, "crash", f"event {at}") for at in range(5))
    assert [
        line.split(" ", 1)[1]
        for line in annotations_of(alerting(failure_events=failure_events))["recent_events"].split("\n")
    ] == [
        "event 2",
        "event 3",
        "event 4",
    ]


def test_no_text_is_long_and_names_from_the_cloud_are_one_line_without_secrets() -> None:
    models = tuple(Model(model_name=f"m{at}\n" * 30, model_version="1") for at in range(60))
    row = ServiceRow("a", "shop\npassword=hunter2 " + "x" * 900)
    loud = msgspec.structs.replace(alerting(), row=row, settled=Update(NOW, FAIL, models))
    said = annotations_of(loud)
    assert all(len(text) <= 1000 for text in said.values())
    assert "hunter2" not in "".join(said.values())
    assert "\n" not in said["description"] + said["model"]


def test_a_resolved_alert_without_its_failure_claims_none() -> None:
    over = msgspec.structs.replace(state(result=SUCCESS), alert=AlertState(NOW, NOW + SECOND))
    assert (
        annotations_of(over)["description"] == "The failed deployment of service shop in project prod is over"
    )
    assert "model" not in annotations_of(msgspec.structs.replace(over, settled=None))


@pytest.mark.parametrize("service_id", ["a", "../../x?y=1#z", "é ü", "\ud800"])
def test_the_link_is_absolute_and_nothing_in_an_id_leads_elsewhere(service_id: str) -> None:
    page = alert(msgspec.structs.replace(alerting(), row=ServiceRow(service_id, "shop"))).page
    assert re.fullmatch(r"http://exporter\.example/services/[A-Za-z0-9._%~-]+\?project=prod", page)


def test_links_to_runbooks_grafana_and_the_console_are_those_that_are_configured() -> None:
    links = LinkOptions(
        "http://exporter.example",
        "https://wiki.example/runbooks",
        "https://grafana.example",
        "https://console.example/?p={project_id}#/services/{service_id}/{service_id}",
    )
    view = ServiceView("a&b", msgspec.structs.replace(alerting(), row=ServiceRow("a/b", "shop")))
    found = alert_of(view, ALERTING._replace(links=links), "0/1")
    assert found is not None
    said = dict(found.annotations)
    assert said["runbook_url"] == "https://wiki.example/runbooks/ModelArtsDeploymentFailure"
    assert said["grafana_url"] == (
        "https://grafana.example/d/modelarts-service?var-project=a%26b&var-service=a%2Fb"
    )
    assert said["console_url"] == "https://console.example/?p=0%2F1#/services/a%2Fb/a%2Fb"
    assert {"grafana_url", "console_url"}.isdisjoint(annotations_of(alerting()))


def test_the_severity_is_the_configured_one() -> None:
    assert dict(alert(alerting(), ALERTING._replace(severity="page")).labels)["severity"] == "page"


# --- when it is sent -----------------------------------------------------------------------------------


@dataclass
class Receiver:
    """An Alertmanager that accepts everything; the test calls `send` itself."""

    alerting: NotifierOptions = ALERTING
    sent: dict[Key, LastSend] = field(default_factory=dict)

    def send(self, what: Alert, now: int) -> str:
        keys, again = due({KEY: what}, self.sent, now, self.alerting)
        assert now < again
        if not keys:
            # Nothing is due before that time.
            assert due({KEY: what}, self.sent, again - 1, self.alerting)[0] == []
            return ""
        said = postable(what, now, self.alerting)
        self.sent[KEY] = LastSend(what, now)
        assert said.starts_at <= said.ends_at
        return "resolved" if said.ends_at <= now else "firing"

    def send_at_seconds(self, what: Alert, *seconds: int) -> list[str]:
        return [self.send(what, NOW + at * SECOND) for at in seconds]


def test_the_cause_is_awaited_before_the_first_send_but_not_for_ever() -> None:
    assert Receiver().send_at_seconds(alert(alerting()), 0, 19, 20) == ["", "", "firing"]


def test_a_cause_that_is_known_is_sent_at_once() -> None:
    assert Receiver().send(FIRING, NOW) == "firing"


def test_a_cause_that_comes_in_time_is_in_the_first_send() -> None:
    receiver = Receiver()
    assert receiver.send_at_seconds(alert(alerting()), 0, 5) == ["", ""]
    assert receiver.send(FIRING, NOW + 6 * SECOND) == "firing"


def test_the_cause_of_a_second_failure_is_awaited_too() -> None:
    receiver = Receiver()
    assert receiver.send_at_seconds(FIRING, 0) == ["firing"]
    assert receiver.send_at_seconds(ended(FIRING, NOW + SECOND), 61) == ["resolved"]
    second = msgspec.structs.replace(state(), alert=AlertState(NOW + 100 * SECOND))
    assert receiver.send_at_seconds(alert(second), 100, 119, 120) == ["", "", "firing"]


def test_a_firing_alert_is_sent_again_every_resend_interval_with_a_lease_that_outlives_ten_minutes() -> None:
    assert Receiver().send_at_seconds(FIRING, *range(0, 181, 30)) == [
        "firing",
        "",
        "firing",
        "",
        "firing",
        "",
        "firing",
    ]
    assert postable(FIRING, NOW, ALERTING).ends_at == NOW + LEASE
    slow = ALERTING._replace(resend=10 * MINUTE)
    assert postable(FIRING, NOW, slow).ends_at == NOW + 50 * MINUTE


def test_a_new_text_is_sent_at_once() -> None:
    receiver = Receiver()
    assert receiver.send(FIRING, NOW) == "firing"
    other = alert(alerting(cause=msgspec.structs.replace(CAUSE, message="another")))
    assert receiver.send_at_seconds(other, 1, 2) == ["firing", ""]


def test_an_end_is_sent_one_resend_later_and_for_15_minutes() -> None:
    receiver, over = Receiver(), ended(FIRING, NOW + SECOND)
    assert receiver.send(FIRING, NOW) == "firing"
    sent = {at: receiver.send(over, NOW + SECOND + at * MINUTE) for at in range(20)}
    assert {at for at, word in sent.items() if word == "resolved"} == set(range(1, 16))
    assert "firing" not in sent.values()
    assert postable(over, NOW + 5 * MINUTE, ALERTING).ends_at == NOW + SECOND


def test_an_end_is_sent_as_much_later_as_scrapes_are_apart() -> None:
    over = ended(FIRING, NOW, scrape_gap=2 * MINUTE)
    assert Receiver().send_at_seconds(over, 60, 179, 180) == ["", "", "resolved"]


def test_a_failure_that_comes_back_before_its_end_was_sent_never_ended() -> None:
    receiver = Receiver()
    assert receiver.send(FIRING, NOW) == "firing"
    assert receiver.send_at_seconds(ended(FIRING, NOW + 10 * SECOND), 10, 40) == ["", ""]
    assert receiver.send_at_seconds(FIRING, 50, 60) == ["", "firing"]


def test_it_is_over_when_its_end_was_sent_long_enough() -> None:
    over = ended(FIRING, NOW)
    assert not is_over(FIRING, NOW + 365 * 24 * 60 * MINUTE)
    assert not is_over(over, NOW + MINUTE + END_REPEATED_MS - 1)
    assert is_over(over, NOW + MINUTE + END_REPEATED_MS)


# --- what is known only from before -----------------------------------------------------------------------


def unconfirmed(what: Alert) -> Alert:
    return notifications.unconfirmed({KEY: what})[KEY]


def test_an_alert_that_is_not_confirmed_is_due_as_often_and_its_end_never() -> None:
    assert Receiver().send_at_seconds(unconfirmed(FIRING), 0, 59, 60) == ["firing", "", "firing"]
    over = unconfirmed(ended(FIRING, NOW))
    assert Receiver().send_at_seconds(over, 0, 60, 600) == ["", "", ""]


def test_one_that_is_confirmed_after_it_was_withheld_waits_for_its_cause_and_for_nothing_else() -> None:
    withheld = {KEY: LastSend(unconfirmed(FIRING), NOW, withheld=True)}
    assert Receiver(sent=dict(withheld)).send(FIRING, NOW + SECOND) == "firing"
    assert Receiver(sent=dict(withheld)).send_at_seconds(alert(alerting()), 1, 20) == ["", "firing"]


def test_one_that_was_rejected_is_tried_again_within_a_minute_whatever_the_resend_interval() -> None:
    slow = ALERTING._replace(resend=10 * MINUTE)
    rejected = {KEY: LastSend(FIRING, NOW, rejected=True)}
    assert due({KEY: FIRING}, rejected, NOW + HEARTBEAT_MS - 1, slow) == ([], NOW + HEARTBEAT_MS)
    assert due({KEY: FIRING}, rejected, NOW + HEARTBEAT_MS, slow)[0] == [KEY]


# --- an Alertmanager with another clock --------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
def test_times_are_those_of_the_clock_that_judges_them(ahead: int) -> None:
    firing, over = postable(FIRING, NOW, ALERTING, ahead), ended(FIRING, NOW - MINUTE)
    assert (firing.starts_at, firing.ends_at) == (NOW + ahead, NOW + LEASE + ahead)
    assert postable(over, NOW, ALERTING, ahead).ends_at == NOW - MINUTE + ahead


# --- clocks that are set back --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "word"),
    [(alert(alerting()), "firing"), (FIRING, "firing"), (ended(FIRING, NOW + SECOND), "resolved")],
)
def test_a_clock_that_was_set_back_makes_nothing_wait_for_it(what: Alert, word: str) -> None:
    receiver = Receiver(sent={KEY: LastSend(FIRING, NOW)})
    assert receiver.send(what, NOW - HOUR) == word
    assert Receiver().send(what, NOW - HOUR) == word


# --- many at once --------------------------------------------------------------------------------------


def keys_of(count: int) -> list[Key]:
    return [("prod", f"s{at:03}") for at in range(count)]


def test_no_batch_is_larger_than_prometheus_own() -> None:
    assert [len(batch) for batch in batches(keys_of(200), {})] == [64, 64, 64, 8]
    assert batches([], {}) == []


@given(st.lists(st.booleans(), max_size=150))
def test_what_was_rejected_goes_alone_and_last_and_nothing_is_left_out(bad: list[bool]) -> None:
    keys = keys_of(len(bad))
    sent = {key: LastSend(FIRING, NOW, rejected) for key, rejected in zip(keys, bad, strict=True)}
    found = batches(keys, sent)
    assert sorted(key for batch in found for key in batch) == keys
    assert all(len(batch) <= LARGEST_BATCH for batch in found)
    alone = [any(sent[key].rejected for key in batch) for batch in found]
    assert alone == sorted(alone)
    assert all(len(batch) == 1 for batch, rejected in zip(found, alone, strict=True) if rejected)


# --- what an Alertmanager makes of it, over any history --------------------------------------------------

# Each step: how long nothing happens, what the newest update said then, and whether the receiver was there.
histories = st.lists(
    st.tuples(
        st.integers(1, 200).map(lambda seconds: seconds * SECOND),
        st.sampled_from([FAIL, SUCCESS, "restart"]),
        st.booleans(),
    ),
    max_size=12,
)


@dataclass
class Alertmanager:
    """Holds one alert as the real one does: the last message stands until its end."""

    held: PostableAlert | None = None

    def firing(self, now: int) -> bool:
        return self.held is not None and now < self.held.ends_at


@given(histories)
def test_an_alertmanager_that_hears_of_it_knows_what_is_true(
    history: Sequence[tuple[int, str, bool]],
) -> None:
    receiver, alertmanager, now = Receiver(), Alertmanager(), NOW
    service = state(SUCCESS, cause=CAUSE)
    heard_since = 0  # for how long the receiver sent everything and nothing changed
    for passed, what, there in history:
        if what == "restart":
            receiver = Receiver()
        else:
            service = msgspec.structs.replace(service, settled=Update(NOW, what))
            heard_since = 0
        for at in range(now, now + passed, SECOND):
            service = with_alert_state(service, at, ALERTING.resend)
            found = alert_of(ServiceView("prod", service), ALERTING)
            if found is not None and there:
                keys, _ = due({KEY: found}, receiver.sent, at, ALERTING)
                for _ in keys:
                    alertmanager.held = postable(found, at, ALERTING)
                    receiver.sent[KEY] = LastSend(found, at)
            heard_since = heard_since + SECOND if there else 0
            failing = service.settled is not None and service.settled.result == FAIL
            if heard_since > ALERTING.resend + SECOND:
                assert alertmanager.firing(at) == failing
            if there and failing:
                assert alertmanager.firing(at)
        now += passed
