"""The dashboards are what their source makes, are laid out well, and say what every panel means."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from dashboards.source import build, states
from dashboards.source.queries import TROUBLES
from exporter.core.classifier.remedies import REASONS
from exporter.core.pages.service_health import STATES
from tests.dashboard_files import ROOT, Json, dashboards, panels

FOUND = dashboards()
UIDS = [f"modelarts-{name}" for name in ("overview", "service", "edge", "delivery", "exporter")]

# Grafana's JSON schemas, which lie beside the checkout in CI. Where nobody has put them there is nothing to
# compare with, so that one test does not exist; every other one stands without them.
SCHEMAS = ROOT.parent / "shared" / "grafana-schemas"

# Panels of text ask nothing, so they have no unit and cannot lack data.
ASKING = pytest.mark.parametrize(
    ("uid", "panel"),
    [
        pytest.param(uid, panel, id=f"{uid} / {panel['title']}")
        for uid, dashboard in FOUND.items()
        for panel in panels(dashboard)
        if panel["type"] != "text"
    ],
)
EACH = pytest.mark.parametrize("uid", sorted(FOUND))


def test_the_files_are_what_the_source_makes() -> None:
    written = {file.name: file.read_text("utf-8") for file in build.FOLDER.glob("*.json")}
    assert written == build.files(), "run: python -m dashboards.source.build"


def test_there_are_the_five_and_alerts_lead_to_them() -> None:
    assert sorted(FOUND) == sorted(UIDS)
    config = yaml.safe_load((ROOT / "alerts" / "config.yml").read_text("utf-8"))["dashboards"]
    assert {uid for name, uid in config.items() if name != "base_url"} <= set(FOUND)


def test_a_state_has_the_name_that_pages_and_json_give_it() -> None:
    """In their order too; they have no state for the nodes of a service that is well otherwise."""
    urgent = [state.name for state in STATES if state.urgent]
    assert [trouble.text for trouble in TROUBLES] == [*urgent, "nodes failed"]
    (panel,) = (panel for panel in panels(FOUND["modelarts-service"]) if panel["title"] == "State")
    texts = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert {code: shown["text"] for code, shown in texts.items()} == {
        "0": "ok",
        **{str(trouble.code): trouble.text for trouble in TROUBLES},
    }
    assert [state.label.lower() for state in STATES] == [state.name for state in STATES]


# --- one dashboard ---------------------------------------------------------------------------------


@EACH
def test_it_is_found_by_its_uid_tag_and_title_and_is_not_edited_in_grafana(uid: str) -> None:
    dashboard = FOUND[uid]
    assert dashboard["uid"] == uid
    assert len(uid) <= 40  # Grafana's own limit
    assert dashboard["title"].startswith("ModelArts / ")
    assert dashboard["description"].endswith("?")
    assert dashboard["tags"] == ["modelarts"]
    assert dashboard["editable"] is False
    assert "__inputs" not in dashboard
    assert "id" not in dashboard
    assert dashboard["refresh"] in ("1m", "1h")  # the exporter's data change every 30 s at most


@EACH
def test_its_menu_leads_to_the_others_with_variables_and_time_kept(uid: str) -> None:
    (link,) = FOUND[uid]["links"]
    assert link["type"] == "dashboards"
    assert link["tags"] == FOUND[uid]["tags"]
    assert link["asDropdown"]
    assert link["includeVars"]
    assert link["keepTime"]


@EACH
def test_its_variables_are_a_data_source_projects_and_services(uid: str) -> None:
    source, *chosen, exporter = FOUND[uid]["templating"]["list"]
    assert (exporter["name"], exporter["hide"]) == ("exporter", 2)
    assert exporter["datasource"]["uid"] == "${datasource}"
    assert (source["name"], source["label"]) == ("datasource", "Data source")
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert [variable["name"] for variable in chosen] == ["project", "service"]
    for variable in chosen:
        assert variable["type"] == "query"
        assert variable["datasource"]["uid"] == "${datasource}"
        assert variable["refresh"] == 2  # whenever the range changes: services come and go
        several = (uid, variable["name"]) != ("modelarts-service", "service")
        assert (variable["multi"], variable["includeAll"]) == (several, several)
        assert variable.get("allValue") == (".+" if several else None)


@EACH
def test_its_annotations_are_updates_and_alerts(uid: str) -> None:
    found = FOUND[uid]["annotations"]["list"]
    assert [entry["name"] for entry in found] == ["Failed updates", "Successful updates", "Firing alerts"]
    assert len({entry["iconColor"] for entry in found}) == 3
    for entry in found:
        assert entry["enable"]
        assert entry["datasource"]["uid"] == "${datasource}"


@EACH
def test_its_panels_stand_within_24_columns_and_on_no_other(uid: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in FOUND[uid]["panels"]:
        shown = [panel, *panel.get("panels", [])] if panel["type"] == "row" else [panel]
        opened = dict(taken)  # a row that is closed at first is drawn over what follows, when it is opened
        for one in shown:
            for cell in cells(one):
                assert opened.setdefault(cell, one["title"]) == one["title"], cell
                assert 0 <= cell[0] < 24
        taken |= dict.fromkeys(cells(panel), panel["title"])


def cells(panel: Json) -> Iterator[tuple[int, int]]:
    place = panel["gridPos"]
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y


@EACH
def test_its_panels_have_ids_and_titles_of_their_own(uid: str) -> None:
    rows = [panel for panel in FOUND[uid]["panels"] if panel["type"] == "row"]
    ids = [panel["id"] for panel in (*panels(FOUND[uid]), *rows)]
    titles = [panel["title"] for panel in panels(FOUND[uid])]
    assert 0 not in ids
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles), "links and people identify a panel by its title"


@EACH
def test_nobody_has_to_distinguish_red_from_green(uid: str) -> None:
    assert not re.search("green", json.dumps(FOUND[uid]), re.IGNORECASE)


# --- one panel -------------------------------------------------------------------------------------


@EACH
def test_every_panel_says_what_it_shows(uid: str) -> None:
    for panel in panels(FOUND[uid]):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]


@ASKING
def test_a_panel_has_a_query_a_unit_and_words_for_no_data(uid: str, panel: Json) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["targets"]
    assert defaults["unit"]
    assert len(defaults["noValue"]) > 5
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)
    for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
        assert source == {"type": "prometheus", "uid": "${datasource}"}


@ASKING
def test_numbers_and_tables_ask_about_a_moment_and_graphs_about_a_range(uid: str, panel: Json) -> None:
    moment = panel["type"] in ("stat", "table", "bargauge")
    for target in panel["targets"]:
        assert (target["instant"], target["range"]) == (moment, not moment)
        wanted = {"table": "table", "heatmap": "heatmap"}.get(panel["type"], "time_series")
        assert target["format"] == wanted


@ASKING
def test_a_graph_names_its_series_and_its_axis(uid: str, panel: Json) -> None:
    if panel["type"] == "timeseries":
        assert panel["options"]["legend"]["showLegend"]
        assert panel["options"]["tooltip"]["mode"] == "multi"
        assert panel["fieldConfig"]["defaults"]["custom"]["axisLabel"]
        assert all(target["legendFormat"] for target in panel["targets"])


@ASKING
def test_a_state_has_a_text_and_a_colour(uid: str, panel: Json) -> None:
    for name, value in settings(panel):
        if name == "mappings":
            for mapping in value:
                options = mapping["options"]
                for result in [options["result"]] if mapping["type"] == "special" else options.values():
                    assert result["text"]
                    assert result["color"]
    if panel["type"] == "state-timeline":
        assert panel["fieldConfig"]["defaults"]["mappings"]


@ASKING
def test_a_number_that_is_not_known_has_not_the_colour_of_zero(uid: str, panel: Json) -> None:
    if panel["type"] == "stat":
        defaults = panel["fieldConfig"]["defaults"]
        unknown = defaults["mappings"][-1]["options"]
        assert unknown["match"] == "null+nan"
        assert unknown["result"]["text"] == defaults["noValue"]
        assert unknown["result"]["color"] not in (states.WELL, states.LOOK, states.BROKEN)


def test_every_reason_has_a_colour_of_its_own() -> None:
    assert tuple(states.REASONS) == REASONS
    assert len(set(states.REASONS.values())) == len(REASONS)


def settings(panel: Json) -> Iterator[tuple[str, Any]]:
    """Each setting of a panel's fields, of all and of some."""
    yield from panel["fieldConfig"]["defaults"].items()
    for override in panel["fieldConfig"]["overrides"]:
        yield from ((entry["id"], entry["value"]) for entry in override["properties"])


@ASKING
def test_a_link_leads_to_one_of_the_five_and_takes_the_choice_and_the_time_along(
    uid: str, panel: Json
) -> None:
    known = shown_labels(panel)
    for name, value in settings(panel):
        for link in value if name == "links" else ():
            url = link["url"]
            for field in re.findall(r"\$\{__(?:data\.fields|field\.labels)\.(\w+)\}", url):
                assert field in known, f"{field} is not among {known}"
            if url.startswith("${exporter:raw}/runbooks/"):
                continue  # where the rules lead to
            assert re.match(r"/d/([\w-]+)\?", url)[1] in FOUND  # type: ignore[index]
            assert "${datasource:queryparam}" in url
            assert "${__url_time_range}" in url
            for variable in ("project", "service"):
                assert f"${{{variable}:queryparam}}" in url or f"var-{variable}=$" in url


def shown_labels(panel: Json) -> set[str]:
    """What links may speak of: the columns of a table, the labels that every query of a graph keeps."""
    if panel["type"] == "table":
        order = panel["transformations"][-1]["options"]["indexByName"]
        return set(order)
    kept = [re.search(r"by \(([\w, ]+)\)", target["expr"]) for target in panel["targets"]]
    return set.intersection(*(set(match[1].split(", ")) if match else set() for match in kept))


# --- Grafana's own schema --------------------------------------------------------------------------


if SCHEMAS.is_dir():

    @EACH
    def test_grafanas_schema_takes_it(uid: str) -> None:
        found = [*errors("dashboard", "Dashboard", FOUND[uid])]
        for panel in panels(FOUND[uid]):
            kind = panel["type"].replace("-", "")
            found += errors(kind, "Options", panel["options"])
            custom = panel.get("fieldConfig", {}).get("defaults", {}).get("custom")
            if custom is not None:
                found += errors(kind, "FieldConfig", custom)
            for target in panel.get("targets", ()):
                found += errors("prometheus", "Dataquery", target)
        assert found == []


def errors(file: str, definition: str, value: Json) -> list[str]:
    schema = json.loads((SCHEMAS / f"{file}.jsonschema.json").read_text("utf-8"))
    if file == "dashboard":
        # "Anything" came out as "an object" there; Grafana's own overrides are mostly texts and numbers.
        for name, key in (("DynamicConfigValue", "value"), ("MatcherConfig", "options")):
            assert schema["definitions"][name]["properties"][key]["type"] == "object"
            schema["definitions"][name]["properties"][key] = {}
    schema["$ref"] = f"#/definitions/{definition}"
    validator = jsonschema.Draft7Validator(schema)
    return [f"{error.json_path}: {error.message:.300}" for error in validator.iter_errors(value)]


# --- how Grafana gets them -------------------------------------------------------------------------


def test_the_provisioning_files_and_their_readme_name_the_same_places() -> None:
    folder = ROOT / "deploy" / "grafana"
    provisioning = folder / "provisioning"
    readme = (folder / "README.md").read_text("utf-8")
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "modelarts.yml").read_text())["providers"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "modelarts.yml").read_text())["datasources"]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)
    assert provider["options"]["path"] in readme
    assert source["type"] == FOUND["modelarts-overview"]["templating"]["list"][0]["query"]
    for uid in re.findall(r"/d/([\w-]+)", readme + (ROOT / "docs" / "dashboards.md").read_text("utf-8")):
        assert uid in FOUND
