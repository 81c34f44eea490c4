"""A visit notes every problem: a test of the report that ends without one has looked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.support.visits import visited

POLICY = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'">"""


def look_at(chromium: Browser, folder: Path, body: str) -> None:
    """Visit a page, and follow its first link if it has one."""
    (folder / "index.html").write_text(f"<!DOCTYPE html><title>Bad</title>{body}", encoding="utf-8")
    with visited(chromium, f"{folder.as_uri()}/") as visit:
        page = visit.open()
        for link in page.get_by_role("link").all()[:1]:
            with page.expect_event("requestfailed"):
                link.click()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<script>console.error('no')</script>", "console error: no"),
        ("<script>console.warn('hm')</script>", "console warning: hm"),
        ("<script>null.x</script>", "exception: "),
        ("<script>alert('here')</script>", "dialog: here"),
        ("<img src='http://192.0.2.1/a.png' alt=''>", "foreign: http://192.0.2.1/a.png"),
        ("<a href='http://192.0.2.1/'>away</a>", "foreign: http://192.0.2.1/"),
        ("<link rel='stylesheet' href='absent.css'>", "failed: "),
        (f"{POLICY}<script>1</script>", "console error: "),
    ],
)
def test_a_problem_of_a_page_is_noted(chromium: Browser, tmp_path: Path, body: str, problem: str) -> None:
    with pytest.raises(AssertionError, match=f"(?m)^{re.escape(problem)}"):
        look_at(chromium, tmp_path, body)


def test_a_page_without_a_problem_is_none(chromium: Browser, tmp_path: Path) -> None:
    look_at(chromium, tmp_path, "<script>console.log.name</script>")
