"""Fixtures of the tests that look at the report in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from kmatrix.decide.report.site import site_files
from kmatrix.effects.disk.site import replace_site
from tests.browser.support.visits import Visit, Visitor, real_chromium, visited
from tests.unit.support.made_up_report import logs_of, small_report


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The worker's browser."""
    with real_chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def small_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site of a small report that has every verdict; tests only read it."""
    folder = tmp_path_factory.mktemp("small") / "report"
    replace_site(folder, site_files(small_report(), logs_of))
    return folder


@pytest.fixture
def visit(chromium: Browser, small_site: Path) -> Iterator[Visitor]:
    """A function that visits a site, by default the small one as files, in a window with Playwright's options."""
    with ExitStack() as stack:

        def visit_site(site: Path | str = small_site, **options: Any) -> Visit:
            base = site if isinstance(site, str) else f"{site.as_uri()}/"
            return stack.enter_context(visited(chromium, base, **options))

        yield visit_site
