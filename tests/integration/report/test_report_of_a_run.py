"""The report of a real run: a stranger finds the failing line of the compiler in two clicks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from playwright.sync_api import expect

from tests.browser.support.visits import real_chromium, visited
from tests.integration.support.lab import Lab
from tests.integration.support.project.package_roots import PackageFolder
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT, PROFILE, Run, Site, SiteMaker

CHANNEL = "stable-4.97"
UNRESOLVED = "4.97.90"


@dataclass(frozen=True)
class Reported:
    """A project with a report: its folder, the run before it, and its cells by what became of them."""

    site: Site
    built: Run
    failed: str
    errored: str
    passed: str

    @property
    def base(self) -> str:
        """The address of the report's folder."""
        return f"{(self.site.root / 'build' / 'report').as_uri()}/"


@contextmanager
def graph_with_a_release_without_a_payload(lab: Lab) -> Iterator[str]:
    """Serve the lab's update graph, and in one channel a release that its registry does not have."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = requests.get(
                f"{lab.profile.graph}?{urlsplit(self.path).query}", headers={"Accept": "application/json"}, timeout=30
            )
            graph = answer.json()
            if parse_qs(urlsplit(self.path).query).get("channel") == [CHANNEL]:
                node = graph["nodes"][0]
                payload = f"{node['payload'].partition('@')[0]}@sha256:{'0' * 64}"
                graph["nodes"].append({**node, "version": UNRESOLVED, "payload": payload, "metadata": {}})
            content = json.dumps(graph).encode()
            self.send_response(answer.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/graph"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def reported(lab: Lab, module_sites: SiteMaker, tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """A run with a client that does not compile for one kernel, a log that cannot be written, and a lost payload."""
    kernels = (lab.kernels.newer, lab.kernels.older)
    failed, errored, passed = (
        f"{OLDER_CLIENT}-{lab.kernels.newer}",
        f"{NEWER_CLIENT}-{lab.kernels.newer}",
        f"{NEWER_CLIENT}-{lab.kernels.older}",
    )
    folder = PackageFolder(tmp_path_factory.mktemp("packages") / "release", lab)
    folder.make("--fault", "no-compile", "--fault-kernels", lab.kernels.newer)
    # Only the sound client can be compiled beforehand.
    module_sites(kernels=kernels)
    site: Site = module_sites(
        warm=False,
        own_packages=[OLDER_CLIENT],
        clients=[OLDER_CLIENT, NEWER_CLIENT],
        kernels=kernels,
        packages=str(folder.root),
    )
    (site.root / "build" / "logs" / PROFILE / f"{errored}.log").mkdir(parents=True)
    with graph_with_a_release_without_a_payload(lab) as graph:
        site.change_profile(graph=graph)
        found = site.run("discover")
    assert UNRESOLVED in found.stderr, found.stderr
    built = site.run("build", *[word for cell in (failed, errored, passed) for word in ("--only", cell)])
    assert {cell: built.verdicts[cell] for cell in (failed, errored, passed)} == {
        failed: "failed",
        errored: "errored",
        passed: "passed",
    }
    made = site.run("report")
    assert made.code == 1, made.stderr
    return Reported(site, built, failed, errored, passed)


def test_two_clicks_lead_from_the_matrix_to_the_compiler_s_line(reported: Reported) -> None:
    line = reported.built.cell(reported.failed)["reason"].removeprefix("build: ")
    assert "error: implicit declaration of function 'beegfs_declared_nowhere'" in line
    with real_chromium() as browser, visited(browser, reported.base, viewport={"width": 1280, "height": 800}) as seen:
        page = seen.open()
        page.locator(f'table a[href="cells/{reported.failed}.html"]').click()
        deciding = page.locator('main a[href*=".log.html#L"]').filter(has_text=line).first
        expect(deciding).to_be_in_viewport()
        deciding.click()
        expect(page.locator(":target")).to_contain_text(line)
        expect(page.locator(":target")).to_be_in_viewport(ratio=1)


def test_every_page_of_it_opens_without_a_problem_and_the_first_names_what_is_broken(reported: Reported) -> None:
    with real_chromium() as browser, visited(browser, reported.base) as seen:
        page = seen.open()
        attention = page.locator("section[aria-labelledby=attention]")
        expect(attention).to_contain_text(UNRESOLVED)
        expect(attention.locator(f'a[href="cells/{reported.failed}.html"]')).to_be_visible()
        expect(attention.locator(f'a[href="cells/{reported.errored}.html"]')).to_be_visible()
        folder = reported.site.root / "build" / "report"
        for path in sorted(folder.rglob("*.html")):
            page.goto(path.as_uri())
            expect(page.locator("h1")).not_to_be_empty()


def test_the_page_of_a_published_cell_names_its_image_by_digest(reported: Reported) -> None:
    digest = reported.site.registry.digest(reported.site.repository, reported.site.tag_of(reported.passed))
    text = (reported.site.root / "build" / "report" / "cells" / f"{reported.passed}.html").read_text(encoding="utf-8")
    assert f"{reported.site.target}/beegfs-client@{digest}" in text


def test_programs_find_the_same_in_its_document(reported: Reported) -> None:
    path = reported.site.root / "build" / "report" / "index.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    verdicts = {cell["cell"]: cell["verdict"] for cell in content["cells"]}
    assert verdicts.items() >= reported.built.verdicts.items()
    assert [each["state"] for each in content["releases"] if each["version"] == UNRESOLVED] == ["unresolved"]
