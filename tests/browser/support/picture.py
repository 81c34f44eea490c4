"""Writes docs/img/report.png, the picture of the report in the README: `python -m tests.browser.support.picture`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from kmatrix.decide.report.site import site_files
from kmatrix.effects.disk.site import replace_site
from tests.browser.support.visits import real_chromium, visited
from tests.unit.support.realistic_report import realistic_logs, realistic_report

PICTURE = Path(__file__).parents[3] / "docs" / "img" / "report.png"
SIZE = {"width": 1200, "height": 1403}


def main() -> None:
    """Take the picture of the first page, light, down to the newest rows of the matrix."""
    with TemporaryDirectory() as folder, real_chromium() as browser:
        site = Path(folder) / "report"
        replace_site(site, site_files(realistic_report(), realistic_logs))
        with visited(browser, f"{site.as_uri()}/", viewport=SIZE, color_scheme="light") as seen:
            seen.open().screenshot(path=PICTURE)


if __name__ == "__main__":
    main()
