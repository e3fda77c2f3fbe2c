"""A text and a colour for each state, so that nobody has to distinguish red from green.

Blue is well, orange wants a look, red is broken, purple is not known, grey is off. Hue never stands alone:
where a state is shown there is its text.
"""

from collections.abc import Callable, Iterable

from grafana_foundation_sdk.models import dashboard as model

from dashboards.source.queries import TROUBLES

WELL = "blue"
LOOK = "orange"
BROKEN = "semi-dark-red"  # its contrast with both backgrounds is at least 3, that of dark-red is not
UNKNOWN = "#AA4499"  # a purple; what Grafana calls so looks like its blue to who sees no red
OFF = "#808080"  # Grafana names no grey

# One colour for one meaning, in every panel: the keys are names of series.
RESULTS = {"SUCCESS": WELL, "FAIL": BROKEN, "RUNNING": LOOK}
NODES = {"success": WELL, "failed": BROKEN}
EVENTS = {"normal": WELL, "abnormal": BROKEN}
OUTCOMES = {"sent": WELL, "failed": BROKEN}
# The palette of Okabe and Ito, which people with any kind of colour vision can distinguish.
PHASES = {
    "image_build": "#56B4E9",
    "environment": "#0072B2",
    "scheduling": "#E69F00",
    "image_pull": "#CC79A7",
    "startup": "#F0E442",
}
ENDPOINTS = {
    "token": "#CC79A7",
    "list": "#0072B2",
    "detail": "#F0E442",
    "logs": "#E69F00",
    "events": "#56B4E9",
}
# The colour of its phase for a reason that belongs to one; the common ones differ the most.
REASONS = {
    "insufficient_resources": "#E69F00",
    "image_pull": "#CC79A7",
    "image_build": "#56B4E9",
    "health_check": "#F0E442",
    "crash": "#D55E00",
    "out_of_memory": "#AA4499",
    "timeout": "#0072B2",
    "quota": "#009E73",
    "billing": "#999933",
    "storage": "#88CCEE",
    "credentials": "#7F6FD0",
    "rollback": "#DDCC77",
    "node": "#B0724A",
    "other": OFF,
}
# From the worst to the best, so that a number can mean a state.
STATUSES = {
    "failed": BROKEN,
    "concerning": LOOK,
    "deploying": LOOK,
    "waiting": LOOK,
    "pending": LOOK,
    "stopping": OFF,
    "stopped": OFF,
    "deleting": OFF,
    "finished": WELL,
    "running": WELL,
    "other": UNKNOWN,
}
SEVERITIES = {"critical": BROKEN, "warning": LOOK, "info": WELL}

_TROUBLE = {6: BROKEN, 5: BROKEN, 4: LOOK, 3: UNKNOWN, 2: LOOK, 1: LOOK}


def texts(meaning: dict[str, tuple[str, str]]) -> list[model.ValueMapping]:
    """A mapping from values, as text, to a text and a colour each."""
    results = {
        value: model.ValueMappingResult(text=text, color=colour, index=place)
        for place, (value, (text, colour)) in enumerate(meaning.items())
    }
    return [model.ValueMap(options=results)]


def nothing(words: str) -> model.ValueMapping:
    """The text for "no data" in grey; in the colour of 0 it would look like a good state."""
    return model.SpecialValueMap(
        options=model.DashboardSpecialValueMapOptions(
            match=model.SpecialValueMatch.NULL_AND_NAN,
            result=model.ValueMappingResult(text=words, color=OFF, index=99),
        )
    )


STATE = texts({"0": ("ok", WELL)} | {str(t.code): (t.text, _TROUBLE[t.code]) for t in TROUBLES})
STATUS = texts({str(place): (name, colour) for place, (name, colour) in enumerate(STATUSES.items())})
RESULT = texts({str(place): (name, colour) for place, (name, colour) in enumerate(RESULTS.items())})
PHASE = texts({str(place): (name, colour) for place, (name, colour) in enumerate(PHASES.items())})
SEVERITY = texts({name: (name, colour) for name, colour in SEVERITIES.items()})
NODE = texts({"0": ("failed", BROKEN), "1": ("ok", WELL)})
READABLE = texts({"0": ("unreadable", UNKNOWN), "1": ("ok", WELL)})
RELOADED = texts({"0": ("rejected", BROKEN), "1": ("in force", WELL)})


def code_of(present: Callable[[str], str], states: Iterable[str], by: str) -> str:
    """A query that returns the index of the present state in `states`.

    `present` gives a query that finds something where a state is the present one.
    """
    return f"max {by} ({' or '.join(f'{place} + 0 * ({present(s)})' for place, s in enumerate(states))})"
