"""Which event tells why the newest failed update failed."""

import msgspec

from exporter.core.account import Account, Trouble, opened, with_error
from exporter.core.blame import AFTERMATH_MS, LONGEST_DEPLOYMENT_MS, TROUBLES_KEPT, with_cause, with_troubles
from exporter.core.causes import Classifier
from exporter.core.records import ServiceRow, Update
from tests.fakes import NOW

MINUTE = 60_000


def failed(settled_at: int | None = NOW + MINUTE) -> Account:
    update = Update(NOW, "FAIL")
    account = opened(ServiceRow("s"), NOW, history=False).account
    return msgspec.structs.replace(account, newest=update, settled=update, settled_at=settled_at)


def trouble(milliseconds: int, reason: str = "image_pull") -> Trouble:
    return Trouble(NOW + milliseconds, reason, f"{reason} at {milliseconds}")


def cause(account: Account, *troubles: Trouble) -> Trouble | None:
    return with_troubles(account, troubles).cause


def test_the_cause_is_the_latest_telling_event_of_the_update() -> None:
    assert cause(failed(), trouble(1), trouble(5, "quota"), trouble(3)) == trouble(5, "quota")


def test_a_symptom_never_hides_a_reason() -> None:
    reasons = ["image_pull", "timeout", "rollback", "other"]
    for place in range(4):
        found = [trouble(10 + n, reason) for n, reason in enumerate(reasons[place:])]
        assert cause(failed(), *found) == found[0]


def test_an_event_before_the_update_is_not_its_cause() -> None:
    assert cause(failed(), trouble(-1)) is None
    assert cause(failed(), trouble(0)) == trouble(0)


def test_an_event_may_come_a_while_after_the_settling() -> None:
    end = MINUTE + AFTERMATH_MS
    assert cause(failed(), trouble(end - 1)) == trouble(end - 1)
    assert cause(failed(), trouble(end)) is None


def test_where_the_settling_was_not_seen_the_longest_deployment_counts() -> None:
    end = LONGEST_DEPLOYMENT_MS + AFTERMATH_MS
    assert cause(failed(settled_at=None), trouble(end - 1)) == trouble(end - 1)
    assert cause(failed(settled_at=None), trouble(end)) is None


def test_what_happens_to_a_retry_is_not_the_cause_of_the_failure_before() -> None:
    retry = msgspec.structs.replace(failed(), newest=Update(NOW + 2 * MINUTE, "RUNNING"))
    assert cause(retry, trouble(1), trouble(2 * MINUTE, "quota")) == trouble(1)


def test_no_cause_without_a_failure() -> None:
    account = opened(ServiceRow("s"), NOW, history=False).account
    assert cause(account, trouble(1)) is None
    blamed = with_troubles(failed(), (trouble(1),))
    good = msgspec.structs.replace(blamed, settled=Update(NOW + MINUTE, "SUCCESS"))
    assert with_cause(good).cause is None


def test_a_crash_loop_cannot_wash_a_cause_away() -> None:
    blamed = with_troubles(failed(), (trouble(1),))
    flooded = with_troubles(blamed, tuple(trouble(10 + n, "other") for n in range(100)))
    assert len(flooded.troubles) == TROUBLES_KEPT
    assert flooded.cause == trouble(1)


def test_the_detail_tells_the_cause_where_no_event_does() -> None:
    classifier = Classifier()
    account = with_error(failed(), "No resources are available for the selected specification.", classifier)
    assert account.cause is not None
    assert account.cause.reason == "insufficient_resources"
    assert with_error(account, "another", classifier) is account
    assert with_error(failed(), "  ", classifier).cause is None
    good = opened(ServiceRow("s"), NOW, history=False).account
    assert with_error(good, "boom", classifier) is good


def test_an_event_that_tells_more_replaces_what_the_detail_said() -> None:
    account = with_error(failed(), "something went wrong", Classifier())
    assert cause(account, trouble(5)) == trouble(5)
