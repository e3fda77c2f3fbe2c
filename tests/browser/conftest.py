"""A browser for the tests of the pages; where there is none they are left out, which CI does not allow."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import PROGRAM, chromium

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """As tests/conftest.py does for Prometheus."""
    if shutil.which(PROGRAM) is None:
        for item in items:
            if item.path.is_relative_to(HERE):
                item.add_marker(pytest.mark.skip(reason=f"not installed: {PROGRAM}"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all tests; each takes a page of its own from it."""
    with chromium() as found:
        yield found
