"""What a scenario of alerting is: a title, the place where it plays, and what happens there."""

from collections.abc import Callable
from typing import NamedTuple

from tests.live.environment import Environment, Place

from .verdict import Story

# A failed deployment as the exporter tells it, and as the rules do.
PUSHED = "ModelArtsDeploymentFailure"
RULE = "ModelArtsUpdateFailed"

# Returns when the story is over; says by `story.must` what has to come before it does what makes it come.
Play = Callable[[Environment, Story], None]


class Scenario(NamedTuple):
    """One of them; the place has the title for its name."""

    place: Place
    play: Play


class Scenarios(list[Scenario]):
    """Those of one topic, in the order of their plays in the module."""

    def scenario(
        self, title: str, *, alone: bool = False, exporters: int = 0, cut_off: bool = False
    ) -> Callable[[Play], Play]:
        """A decorator of the play; see `Place`."""

        def remember(play: Play) -> Play:
            self.append(Scenario(Place(title, alone, exporters, cut_off), play))
            return play

        return remember
