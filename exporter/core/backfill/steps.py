"""The times at which the past is shown."""

import msgspec

# The last sample is what the running exporter shows first. It stands beside the last regular one, so that
# nothing can happen between the two.
SEAM_MS = 1000


class Steps(msgspec.Struct, frozen=True, gc=False):
    """Regular steps, numbered from 0, and one more a second after the last: the seam. Times are in ms."""

    first: int
    length: int
    seam: int  # the number of the seam, and so how many regular steps there are

    def time(self, number: int) -> int:
        """When this step is."""
        if number == self.seam:
            return self.first + (number - 1) * self.length + SEAM_MS
        return self.first + number * self.length

    def showing(self, time: int) -> int:
        """The first step that shows what happened at `time`."""
        return min(max(-((self.first - time) // self.length), 0), self.seam)

    def before(self, time: int) -> int:
        """The last regular step that does not show what happened at `time`; the first if all do."""
        return max(self.showing(time) - 1, 0)


def steps(since: int, until: int, length: int) -> Steps:
    """The steps from `since`, or a little later, to the seam at `until`; that is a second later, or more."""
    last = until - SEAM_MS
    count = (last - since) // length + 1
    return Steps(last - (count - 1) * length, length, count)
