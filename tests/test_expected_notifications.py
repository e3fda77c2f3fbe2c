"""The alerting scenarios fail if a notification is missing, unexpected, early, or sent twice."""

import pytest

from tests.live.alertmanager import Notification, WebhookReceiver
from tests.live.expected_notifications import ExpectedNotifications, score, table

LATER = 4_000_000_000.0  # in the year 2096


def notification(status: str = "firing", at: float = LATER) -> Notification:
    return Notification(at, "first", "pager", "ModelArtsUpdateFailed", status, {}, {})


@pytest.mark.parametrize(
    ("received", "precision", "recall"),
    [
        ([notification()], 1, 1),
        ([], 1, 0),
        ([notification(), notification()], 0.5, 1),
        ([notification(at=0)], 0, 0),
        ([notification("repeated")], 0, 0),
    ],
    ids=["as expected", "missing", "twice", "too early", "without news"],
)
def test_each_difference_costs_precision_or_recall(
    received: list[Notification], precision: float, recall: float
) -> None:
    expected = ExpectedNotifications("it fails", lambda _: True, lambda: received)
    expected.expect("ModelArtsUpdateFailed")
    assert score([expected.result()]) == (precision, recall)
    assert (table([expected.result()]).count("100 %") == 4) == (precision == recall == 1)


def test_the_webhook_keeps_what_is_new_in_a_message() -> None:
    with WebhookReceiver() as receiver:
        for statuses in (["firing"], ["firing", "firing"], ["firing"], ["resolved", "resolved"]):
            alerts = [
                {"status": status, "labels": {"alertname": name}, "annotations": {}}
                for name, status in zip("AB", statuses, strict=False)
            ]
            receiver.receive("/first/pager", {"alerts": alerts})
        found = [(each.alertname, each.status) for each in receiver.notifications()]
    assert found == [
        *[("A", "firing"), ("B", "firing"), ("A", "repeated")],
        *[("A", "resolved"), ("B", "resolved")],
    ]
