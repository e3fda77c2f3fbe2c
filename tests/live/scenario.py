"""An alerting scenario: what it needs, and what happens in it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.live.alerting_system import AlertingSystem, Setup
from tests.live.expected_notifications import ExpectedNotifications

# The alert of a failed deployment that the exporter pushes, and the one of the rules.
PUSHED_ALERT = "ModelArtsDeploymentFailure"
RULE_ALERT = "ModelArtsUpdateFailed"

# Runs the scenario; it calls `expected.expect` before it does what causes the notification.
Run = Callable[[AlertingSystem, ExpectedNotifications], None]


class Scenario(NamedTuple):
    """A scenario; its title is the name in `setup`."""

    setup: Setup
    run: Run


class Scenarios(list[Scenario]):
    """The scenarios of one module; its decorator adds them."""

    def scenario(self, title: str, **fields: Any) -> Callable[[Run], Run]:
        """Decorates the function that runs it; `fields` are those of `Setup`."""

        def add(run: Run) -> Run:
            self.append(Scenario(Setup(title, **fields), run))
            return run

        return add
