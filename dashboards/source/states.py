"""How states look: a text and a colour for each, told apart without telling red from green.

Blue is well, orange wants a look, red is broken, purple is not known, grey is off. Hue never stands alone:
where a state is shown there is its text.
"""

from collections.abc import Callable, Iterable

from grafana_foundation_sdk.models import dashboard as model

from dashboards.source.queries import TROUBLES

WELL = "blue"
LOOK = "orange"
BROKEN = "semi-dark-red"  # three times as bright as the background, or as dark: dark-red is not
UNKNOWN = "#AA4499"  # a purple; what Grafana calls so looks like its blue to who sees no red
OFF = "#808080"  # Grafana names no grey

# One colour for one meaning, in every panel: the keys are names of series.
RESULTS = {"SUCCESS": WELL, "FAIL": BROKEN, "RUNNING": LOOK}
NODES = {"success": WELL, "failed": BROKEN}
EVENTS = {"normal": WELL, "abnormal": BROKEN}
OUTCOMES = {"sent": WELL, "failed": BROKEN}
# The palette of Okabe and Ito, which was made to be told apart with any kind of sight.
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
# The phases' colours where a reason belongs to one; the common ones are the farthest apart.
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
# From the worst to the best, so that one number can stand for it.
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

_TROUBLE = {6: BROKEN, 5: BROKEN, 4: LOOK, 3: LOOK, 2: LOOK, 1: UNKNOWN}


def texts(meaning: dict[str, tuple[str, str]]) -> list[model.ValueMapping]:
    """A mapping from values, as text, to a text and a colour each."""
    results = {
        value: model.ValueMappingResult(text=text, color=colour, index=place)
        for place, (value, (text, colour)) in enumerate(meaning.items())
    }
    return [model.ValueMap(options=results)]


def nothing(words: str) -> model.ValueMapping:
    """Words for "no data" in grey: in the colour of 0 they would say that all is well."""
    return model.SpecialValueMap(
        options=model.DashboardSpecialValueMapOptions(
            match=model.SpecialValueMatch.NULL_AND_NAN,
            result=model.ValueMappingResult(text=words, color=OFF, index=99),
        )
    )


STATE = texts({"0": ("well", WELL)} | {str(t.code): (t.text, _TROUBLE[t.code]) for t in TROUBLES})
STATUS = texts({str(place): (name, colour) for place, (name, colour) in enumerate(STATUSES.items())})
RESULT = texts({str(place): (name, colour) for place, (name, colour) in enumerate(RESULTS.items())})
PHASE = texts({str(place): (name, colour) for place, (name, colour) in enumerate(PHASES.items())})
SEVERITY = texts({name: (name, colour) for name, colour in SEVERITIES.items()})
NODE = texts({"0": ("failed", BROKEN), "1": ("ok", WELL)})
READABLE = texts({"0": ("not readable", UNKNOWN), "1": ("ok", WELL)})
RELOADED = texts({"0": ("rejected", BROKEN), "1": ("in force", WELL)})


def code_of(present: Callable[[str], str], states: Iterable[str], by: str) -> str:
    """A query that gives the place of the present state among `states`.

    `present` gives a query that finds something where a state is the present one.
    """
    return f"max {by} ({' or '.join(f'{place} + 0 * ({present(s)})' for place, s in enumerate(states))})"
