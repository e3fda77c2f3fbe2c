"""The colours of states can be distinguished with any kind of colour vision, on dark and light pages."""

from itertools import combinations
from math import dist

import pytest

from dashboards.source import states

STATES = (states.WELL, states.LOOK, states.BROKEN, states.UNKNOWN, states.OFF)

# What Grafana makes of the names that it knows, by theme; the page's colour is that of a panel.
NAMED = {
    "dark": {"page": "#181b1f", "blue": "#5794F2", "orange": "#FF9830", "semi-dark-red": "#E02F44"},
    "light": {"page": "#ffffff", "blue": "#3274D9", "orange": "#FF780A", "semi-dark-red": "#C4162A"},
}

# Machado, Oliveira and Fernandes (2009): linear RGB as it is seen where one kind of cone is missing.
SIGHTS = {
    "all": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "no green": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "no blue": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
}

Three = tuple[float, float, float]


def linear(colour: str) -> Three:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return _linear(red), _linear(green), _linear(blue)


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)


def seen(colour: str, sight: str) -> Three:
    """The colour in CIELAB, where a distance of 2 is just seen side by side."""
    parts = linear(colour)
    r, g, b = (
        min(1.0, max(0.0, sum(a * b for a, b in zip(row, parts, strict=True)))) for row in SIGHTS[sight]
    )
    x, y, z = (
        _root((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505),
        _root(0.2126 * r + 0.7152 * g + 0.0722 * b),
        _root((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089),
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _root(part: float) -> float:
    return float(part ** (1 / 3)) if part > 0.008856 else 7.787 * part + 16 / 116


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("theme", NAMED)
def test_no_two_states_look_alike(theme: str, sight: str) -> None:
    shown = {colour: NAMED[theme].get(colour, colour) for colour in STATES}
    for one, other in combinations(shown, 2):
        assert dist(seen(shown[one], sight), seen(shown[other], sight)) > 20, (one, other)


@pytest.mark.parametrize("theme", NAMED)
def test_a_state_stands_out_from_the_page(theme: str) -> None:
    for colour in STATES:
        high, low = sorted(
            (brightness(NAMED[theme].get(name, name)) for name in (colour, "page")), reverse=True
        )
        assert (high + 0.05) / (low + 0.05) > 2.5, colour


def brightness(colour: str) -> float:
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
