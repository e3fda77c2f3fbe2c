"""Debian's Chromium, and an exporter's pages for it to look at."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from exporter.adapters.web.app import WebApp
from exporter.adapters.web.server import WebServer
from tests.page_examples import Fleet

PROGRAM = "chromium"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; it is gone at the end."""
    # The tests may run as root in a container: no user namespaces, and little shared memory.
    flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(PROGRAM), args=flags)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def served(fleet: Fleet) -> Iterator[str]:
    """The URL of the pages of a fleet; an error in the application fails the test."""
    doors: dict[str, Any] = dict(fleet.doors())
    app: WebApp[Any] = WebApp(
        on_scraped=lambda page: None,
        render_self_metrics=lambda openmetrics: b"",
        healthy=lambda: (True, "ok"),
        ready=lambda: (True, "ok"),
        reload=None,
        version="0.1.0",
        **doors,
    )
    errors: list[str] = []
    server = WebServer(["127.0.0.1:0"], app, on_error=errors.append)
    server.start()
    try:
        yield f"http://{server.addresses[0]}/"
    finally:
        server.stop()
    assert errors == []
