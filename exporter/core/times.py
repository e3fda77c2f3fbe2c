"""The two clocks, as types: one tells what time it is and may be set, the other only measures."""

from typing import NewType

# Milliseconds since the epoch. The clock behind it can be set back or forward at any time.
EpochMs = NewType("EpochMs", int)

# Milliseconds of a clock that never steps back; its zero has no meaning.
Ticks = NewType("Ticks", int)
