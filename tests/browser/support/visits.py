"""Visits of the report in a real Chromium, each of which must neither report an error nor leave the site."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, Route, sync_playwright

from tests.unit.support.programs import lack

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def real_chromium() -> Iterator[Browser]:
    """Start the machine's Chromium; Playwright's own browsers are not installed."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        lack(PROGRAMS[0])
    # Chromium refuses to start a sandbox for root.
    unboxed = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=unboxed)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A visit of one site by one browser window.

    Attributes:
        context: the window; all of its pages are watched.
        base: the address of the site, which ends with a slash.
        problems: what went wrong: errors and warnings of the console, exceptions, dialogs, failed and foreign requests.
        requests: the addresses that were loaded.
    """

    context: BrowserContext
    base: str
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, path: str = "index.html") -> Page:
        """Open a page of the site by its path, which may end with a fragment."""
        page = self.context.new_page()
        page.goto(self.base + path)
        return page

    def watch(self, page: Page) -> None:
        """Note all problems of a page from now on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)
        page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url}: {request.failure}"))

    def _console(self, message: ConsoleMessage) -> None:
        self.problems.append(f"console {message.type}: {message.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)


@contextmanager
def visited(browser: Browser, base: str, **options: Any) -> Iterator[Visit]:
    """Visit a site; at the end there must have been no problem.

    Args:
        browser: opens the window.
        base: the address of the site's folder, which ends with a slash.
        options: of the window: `viewport`, `color_scheme`, `java_script_enabled` and others of Playwright's
            `Browser.new_context`.
    """
    with browser.new_context(**options) as context:
        context.set_default_timeout(10_000)
        visit = Visit(context, base)

        def refuse(route: Route) -> None:
            visit.problems.append(f"foreign: {route.request.url}")
            route.abort()

        context.route(lambda url: not url.startswith((base, "about:")), refuse)
        context.on("page", visit.watch)
        yield visit
    assert not visit.problems, "\n".join(visit.problems)


Visitor = Callable[..., Visit]
