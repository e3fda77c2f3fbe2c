"""The runbooks and the documentation as pages, asked as a browser asks them."""

from pathlib import Path
from urllib.parse import urljoin

import bcrypt
import msgspec
import pytest
import requests

from exporter import assets
from exporter.adapters.web.documents import DOCS, RUNBOOKS, document, names
from exporter.core.accounting.service_state import AlertState
from exporter.core.alerting.notifications import ALERTNAME, NotifierOptions, alert_of
from exporter.core.links import LinkOptions
from tests.page_examples import CLASSIFIER, HOUR, MINUTE, NOW, PULL_FAILED, Deployment, Fleet, lively, row
from tests.test_pages import WAIT, Links, ask, serving, without_script, words

ROOT = Path(__file__).parents[1]
ALERTS = [file.stem for file in sorted((ROOT / "docs" / "runbooks").glob("*.md"))]


def test_the_list_names_every_runbook_with_its_meaning() -> None:
    page = ask(lively(), "runbooks/")
    assert page.status_code == 200
    links = [link for link in Links(page.text).links if link in ALERTS]
    assert links == ALERTS
    assert "ModelArtsUpdateFailed The newest settled update of a service failed." in words(page)


def test_a_runbook_looks_as_the_other_pages_and_shows_its_tables_and_commands() -> None:
    page = ask(lively(), "runbooks/ModelArtsUpdateFailed")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "<title>ModelArtsUpdateFailed · ModelArts exporter</title>" in page.text
    assert '<h2 id="mitigation">Mitigation</h2>' in page.text
    assert "<td><code>image_pull</code></td>" in page.text
    assert "curl -sS -H &quot;X-Auth-Token: $TOKEN&quot; &quot;$ENDPOINT" in page.text


def test_every_link_of_every_runbook_and_document_leads_to_a_page_and_a_heading_of_it() -> None:
    pages: dict[str, Links] = {}
    with serving(lively()) as url:

        def opened(address: str) -> Links:
            if address not in pages:
                answer = requests.get(address, timeout=WAIT)
                assert answer.status_code == 200, address
                pages[address] = Links(answer.text)
            return pages[address]

        starts = [f"runbooks/{name}" for name in names(RUNBOOKS)] + [f"docs/{name}" for name in names(DOCS)]
        for start in ["runbooks/", *starts]:
            for link in set(opened(url + start).links):
                address, _, anchor = urljoin(url + start, link).partition("#")
                assert link, start
                if address.startswith("https://"):
                    continue  # a source elsewhere; no test leaves this machine
                assert address.startswith(url), link
                found = opened(address)
                assert not anchor or anchor in [each.get("id") for _, each in found.tags], link


@pytest.mark.parametrize(
    "name",
    ["Nothing", "modelartsupdatefailed", "..%2Falerts", "%2e%2e%2f%2e%2e%2fREADME", "%3Cscript%3E", "x.md"],
)
@pytest.mark.parametrize("folder", ["runbooks", "docs"])
def test_an_unknown_name_is_a_404_that_leads_to_the_list(folder: str, name: str) -> None:
    page = ask(lively(), f"{folder}/{name}")
    assert page.status_code == 404
    assert "There is no such page" in words(page)
    assert '<a href="../runbooks/">All runbooks</a>' in page.text
    assert "<script" not in without_script(page.text)


def test_who_must_sign_in_must_do_so_for_a_runbook_too() -> None:
    users = {"ops": bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()}
    with serving(lively(), users=users) as url:
        for path in ("runbooks/", "runbooks/ModelArtsUpdateFailed", "docs/alerts"):
            assert requests.get(url + path, timeout=WAIT).status_code == 401
            assert requests.get(url + path, auth=("ops", "right"), timeout=WAIT).status_code == 200


def test_the_runbook_of_a_pushed_alert_is_on_the_exporter_s_own_pages() -> None:
    fleet = Fleet()
    state = fleet.service("prod", row("shop", 1), [Deployment(NOW - HOUR, failure=PULL_FAILED)])
    with serving(fleet) as url:
        options = NotifierOptions({}, LinkOptions(url.rstrip("/")), CLASSIFIER, MINUTE, 0)
        (view,) = fleet.services.values()
        alert = alert_of(view._replace(state=msgspec.structs.replace(state, alert=AlertState(NOW))), options)
        assert alert is not None
        page = requests.get(dict(alert.annotations)["runbook_url"], timeout=WAIT)
    assert f'<h1 id="{ALERTNAME.lower()}">{ALERTNAME}</h1>' in page.text


def test_html_and_pictures_of_a_text_are_shown_as_text_and_a_link_to_what_is_not_served_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "# A\n\n<script>1</script> ![a picture](a.png) [code](../exporter/app.py) [x](javascript:1)\n"
    monkeypatch.setattr(assets, "read", lambda name: text)
    page = document.__wrapped__(DOCS, "alerts")
    assert page.summary == "&lt;script&gt;1&lt;/script&gt; a picture code [x](javascript:1)"
