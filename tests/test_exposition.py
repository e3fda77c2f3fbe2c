"""The page equals what prometheus_client renders, however it came about, and however it is sent."""

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.adapters.prometheus import deflate
from exporter.adapters.prometheus.exposition import Exposition, Page
from exporter.core.metrics.family import Family, Kind, Sample

Samples = tuple[Sample, ...]


class Subject(NamedTuple):
    """What is shown of it, by family."""

    shown: Mapping[str, Samples]


def family(name: str, kind: Kind, text: str = "What it is") -> Family:
    """A family that shows what the subject holds under its name."""
    return Family(name, kind, text, (), lambda subject: subject.shown.get(name, ()))


class Theirs:
    """The same families and subjects, for prometheus_client's renderer."""

    def __init__(self, families: Sequence[Family], subjects: Mapping[object, Subject]) -> None:
        self._families, self._subjects = families, subjects

    def collect(self) -> Iterator[Metric]:
        for each in self._families:
            unit = "seconds" if each.name.endswith("_seconds") else ""
            metric = Metric(each.name.removesuffix("_total"), each.help, each.kind, unit)
            for key in sorted(self._subjects):  # type: ignore[type-var]
                for suffix, labels, value in each.samples(self._subjects[key]):
                    metric.add_sample(each.name + suffix, dict(labels), value)
            yield metric


def text(page: Page, *, openmetrics: bool = False, tail: bytes = b"") -> bytes:
    return b"".join(page.body(openmetrics=openmetrics, gzip=False, tail=tail))


def zipped(page: Page, *, openmetrics: bool = False, tail: bytes = b"") -> bytes:
    return b"".join(page.body(openmetrics=openmetrics, gzip=True, tail=tail))


FAMILIES = [
    family("a_info", "gauge"),
    family("b_total", "counter", 'Counts "it" \\ and\nmore'),
    family("c_seconds", "summary"),
    family("d_seconds", "histogram"),
    family("e", "gauge"),
]
SUFFIXES = {"a_info": [""], "b_total": [""], "c_seconds": ["_sum", "_count"], "e": [""]}
SUFFIXES["d_seconds"] = ["_bucket", "_sum", "_count"]

nasty = st.text() | st.text(alphabet='a"\\\n{},= é中😀\u200d\r\0', max_size=8)
labels = st.dictionaries(st.sampled_from(["project", "service_id", "le", "B", "_x", "z9"]), nasty, max_size=4)
values = st.floats() | st.integers(min_value=-(10**15), max_value=10**15) | st.sampled_from([1e6, 1e16, -0.0])
subjects = st.fixed_dictionaries(
    {
        name: st.lists(
            st.builds(
                lambda s, pairs, v: Sample(s, tuple(pairs.items()), v), st.sampled_from(s), labels, values
            ),
            max_size=3,
        ).map(tuple)
        for name, s in SUFFIXES.items()
    }
).map(Subject)
fleets = st.dictionaries(st.tuples(st.sampled_from("pq"), nasty), subjects, max_size=5)


@given(services=fleets, projects=st.dictionaries(nasty, subjects, max_size=2))
def test_both_formats_are_byte_for_byte_those_of_prometheus_client(
    services: dict[tuple[str, str], Subject], projects: dict[str, Subject]
) -> None:
    of_projects = [family("e", "gauge"), family("b_total", "counter")]
    exposition = Exposition(FAMILIES, of_projects)
    exposition.update(services, projects)
    ours, theirs = Theirs(FAMILIES, services), Theirs(of_projects, projects)  # type: ignore[arg-type]
    assert text(exposition.page()) == generate_latest(ours) + generate_latest(theirs)
    openmetrics = generate_openmetrics(ours).removesuffix(b"# EOF\n") + generate_openmetrics(theirs)  # type: ignore[no-untyped-call]
    assert text(exposition.page(), openmetrics=True) == openmetrics


@given(services=fleets, tail=st.binary(max_size=300), openmetrics=st.booleans())
def test_gzip_is_one_member_with_the_same_text(
    services: dict[tuple[str, str], Subject], tail: bytes, *, openmetrics: bool
) -> None:
    exposition = Exposition(FAMILIES, [])
    exposition.update(services, {})
    plain = text(exposition.page(), openmetrics=openmetrics, tail=tail)
    packed = zipped(exposition.page(), openmetrics=openmetrics, tail=tail)
    reader = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    assert reader.decompress(packed) == plain
    assert reader.eof
    assert reader.unused_data == b""
    assert gzip.decompress(packed) == plain


ONE = [family("x_total", "counter"), family("y", "gauge")]


def numbered(number: int, value: int) -> Subject:
    own = (("id", f"{number:04}"),)
    shown: dict[str, Samples] = {"x_total": (Sample("", own, value),)}
    if value % 3:  # not every subject is in every family
        shown["y"] = (Sample("", own, value // 2),)
    return Subject(shown)


# Runs of neighbours, so that blocks are cut, filled, emptied and dropped, as well as single ones.
runs = st.lists(
    st.tuples(st.integers(0, 600), st.integers(1, 300), st.integers(1, 7), st.none() | st.integers(0, 9)),
    max_size=8,
)


@given(runs)
def test_any_history_of_changes_leads_to_the_page_of_its_outcome(
    changes: list[tuple[int, int, int, int | None]],
) -> None:
    grown, present = Exposition(ONE, []), dict[tuple[str, str], Subject]()
    for start, count, step, value in changes:
        numbers = range(start, start + count * step, step)
        update = {("p", f"{n:04}"): None if value is None else numbered(n, value) for n in numbers}
        grown.update(update, {})
        present.update({key: subject for key, subject in update.items() if subject is not None})
        for key in [key for key, subject in update.items() if subject is None]:
            present.pop(key, None)
        zipped(grown.page())  # a scrape in between leaves no trace
    expected = generate_latest(Theirs(ONE, present))  # type: ignore[arg-type]
    assert text(grown.page()) == expected
    assert gzip.decompress(zipped(grown.page())) == expected


def test_a_page_stays_as_it_was_when_services_change_later() -> None:
    exposition = Exposition(ONE, [])
    exposition.update({("p", "1"): numbered(1, 1), ("p", "2"): numbered(2, 1)}, {})
    page = exposition.page()
    before = text(page)
    exposition.update({("p", "1"): numbered(1, 5), ("p", "2"): None, ("p", "0"): numbered(0, 1)}, {})
    assert text(page) == before
    assert gzip.decompress(zipped(page)) == before
    assert text(exposition.page()) != before


def test_only_what_changed_is_rendered() -> None:
    rendered = []

    def samples(subject: int) -> list[Sample]:
        rendered.append(subject)
        return [Sample("", (("n", str(subject)),), 1)]

    exposition = Exposition([Family("x", "gauge", "X", (), samples)], [])
    exposition.update({("p", str(n)): n for n in range(500)}, {})
    rendered.clear()
    exposition.update({("p", "7"): 1007}, {})
    exposition.update({("p", "8"): None, ("p", "9"): None}, {})
    exposition.update({("p", "new"): 2000}, {})
    zipped(exposition.page())
    assert rendered == [1007, 2000]


def test_services_come_by_project_and_then_by_id_in_each_family() -> None:
    exposition = Exposition(ONE, [])
    for key in [("q", "a"), ("p", "b"), ("p", "a")]:
        exposition.update({key: Subject({"y": (Sample("", (("k", "".join(key)),), 0),)})}, {})
    assert text(exposition.page()).decode().splitlines() == [
        "# HELP x_total What it is",
        "# TYPE x_total counter",
        "# HELP y What it is",
        "# TYPE y gauge",
        'y{k="pa"} 0.0',
        'y{k="pb"} 0.0',
        'y{k="qa"} 0.0',
    ]


def test_the_own_metrics_come_last_and_openmetrics_ends_with_eof_once() -> None:
    exposition = Exposition(ONE, [])
    exposition.update({("p", "1"): numbered(1, 1)}, {})
    tail = b"# HELP own It\n# TYPE own gauge\nown 1.0\n"
    assert text(exposition.page(), tail=tail).endswith(b"\n" + tail)
    assert text(exposition.page(), openmetrics=True, tail=tail).endswith(b"\n" + tail + b"# EOF\n")
    assert text(exposition.page(), openmetrics=True, tail=tail).count(b"# EOF") == 1


def test_both_parsers_read_the_page() -> None:
    exposition = Exposition(FAMILIES, [])
    own = (("service_name", 'a "b"\\\n'),)
    shown = {
        "a_info": (Sample("", own, 1),),
        "b_total": (Sample("", own, 3),),
        "c_seconds": (Sample("_count", own, 2), Sample("_sum", own, 4.5)),
    }
    exposition.update({("p", "1"): Subject(shown)}, {})
    old = {each.name: each for each in parse_text(text(exposition.page()).decode())}
    openmetrics = text(exposition.page(), openmetrics=True).decode()
    new = {each.name: each for each in parse_openmetrics(openmetrics)}  # type: ignore[no-untyped-call]
    for read in (old, new):
        assert read["a_info"].type == "gauge"
        assert read["b"].type == "counter"
        assert [sample.value for sample in read["b"].samples] == [3]
        assert read["a_info"].samples[0].labels == {"service_name": 'a "b"\\\n'}
        assert [sample.name for sample in read["c_seconds"].samples] == ["c_seconds_count", "c_seconds_sum"]


def test_half_a_surrogate_pair_is_spelled_out_and_two_of_them_stay_apart() -> None:
    exposition = Exposition([family("x", "gauge")], [])
    names = ("a\ud800", "a\udfff")
    shown = {"x": tuple(Sample("", (("name", name),), 1) for name in names)}
    exposition.update({("p", "1"): Subject(shown)}, {})
    lines = text(exposition.page()).decode().splitlines()
    assert lines[2:] == ['x{name="a\\\\ud800"} 1.0', 'x{name="a\\\\udfff"} 1.0']


def test_what_was_never_there_can_go() -> None:
    exposition = Exposition(ONE, [])
    exposition.update({("p", "1"): None}, {"p": None})
    exposition.update({("p", "2"): numbered(2, 1)}, {})
    before = text(exposition.page())
    exposition.update({("p", "1"): None, ("p", "3"): None}, {"p": None})
    assert text(exposition.page()) == before


@given(st.lists(st.binary(max_size=2000), max_size=6))
def test_seals_of_parts_add_up_to_the_seal_of_the_whole(parts: list[bytes]) -> None:
    whole = deflate.NOTHING
    for part in parts:
        whole = whole.then(deflate.seal([part]))
    assert whole == deflate.seal(parts) == deflate.seal([b"".join(parts)])
    assert whole.crc == zlib.crc32(b"".join(parts))


@given(st.permutations([b"", b"abcabcabc" * 50, b"\0" * 70000, bytes(range(256))]))
def test_deflated_parts_join_in_any_order(parts: list[bytes]) -> None:
    packed = b"".join(deflate.member(map(deflate.deflate, parts), deflate.seal(parts), b"end"))
    assert gzip.decompress(packed) == b"".join(parts) + b"end"


@pytest.mark.parametrize("length", [(1 << 32) - 1, 1 << 32, (1 << 32) + 5])
def test_a_member_longer_than_its_size_field_counts_modulo_its_width(length: int) -> None:
    sealed = deflate.Seal(0, length, 1 << 31)
    assert deflate.member([], sealed, b"x")[-1] == ((length + 1) % (1 << 32)).to_bytes(4, "little")
