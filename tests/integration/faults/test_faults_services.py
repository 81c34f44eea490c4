"""The update graph and the package root become unreachable, or give wrong answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.support.faulty.servers import Server, stoppable_packages
from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, Site, SiteMaker
from tests.integration.support.session import Session
from tests.unit.support.http_server import Reply, WebServer, closed_port, in_turn, web_server

RELEASE = "/release"


@pytest.fixture
def site(lab: Lab, new_site: SiteMaker) -> Site:
    """A project with one cell."""
    return new_site(kernels=[lab.kernels.newer])


@pytest.fixture
def packages(lab: Lab, session: Session) -> Iterator[Server]:
    """A server of the lab's graph and packages that the test can stop."""
    with stoppable_packages(lab, session) as started:
        yield started


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server that answers 500, until a test says otherwise."""
    with web_server(in_turn(Reply(500))) as started:
        yield started


def lock(site: Site) -> bytes:
    return (site.root / "matrix.lock").read_bytes()


def test_packages_that_go_away_after_discovery_cost_the_cells_and_no_more(
    lab: Lab, new_site: SiteMaker, packages: Server
) -> None:
    site = new_site(kernels=[lab.kernels.newer], packages=f"http://{packages.address}{RELEASE}")
    cell = f"{NEWER_CLIENT}-{lab.kernels.newer}"
    before = lock(site)
    packages.stop()
    run = site.run("build")
    assert run.code == 3, run.stderr
    assert run.verdicts == {cell: "errored"}
    assert run.cell(cell)["reason"].startswith(f"the package root at http://{packages.address}{RELEASE}/")
    assert site.tags == set()
    assert run.builds == 0
    assert not list((site.root / "build" / "packages").glob("*"))
    discovery = site.run("discover")
    assert discovery.code == 4
    assert f"the package root at http://{packages.address}{RELEASE}/" in discovery.stderr
    assert lock(site) == before
    packages.start()
    rest = site.run("build")
    assert rest.code == 0, rest.stderr
    assert rest.verdicts == {cell: "passed"}
    assert site.tags == {cell}


def test_fetched_packages_need_no_package_root(lab: Lab, new_site: SiteMaker, packages: Server) -> None:
    site = new_site(kernels=[lab.kernels.newer], packages=f"http://{packages.address}{RELEASE}")
    assert site.run("build", "--no-push").code == 0
    packages.stop()
    run = site.run("build")
    assert run.code == 0, run.stderr


@pytest.mark.parametrize("key", ["graph", "packages"])
def test_a_service_that_is_not_there_is_named_and_the_lock_stays(site: Site, key: str) -> None:
    before = lock(site)
    address = f"http://127.0.0.1:{closed_port()}/path"
    run = site.run("discover", f"--{key}", address)
    assert run.code == 4
    name = {"graph": "update graph", "packages": "package root"}[key]
    assert f"the {name} at {address}" in run.stderr
    assert "connection refused" in run.stderr
    assert lock(site) == before
    assert list(site.root.glob(".matrix.lock*")) == []


@pytest.mark.parametrize(
    ("reply", "code", "said"),
    [
        (Reply(500, b'{"kind": "internal_error"}'), 4, "500 Internal Server Error"),
        (Reply(200, b"<html>sign in</html>", {"Content-Type": "text/html"}), 3, "not"),
        (Reply(200, b'{"nodes": [{"version": "4.96.0"'), 3, "not"),
        (Reply(200, b'{"nodes": {}}'), 3, "not an update graph"),
        (Reply(200, b"\xff\xfe\x00"), 3, "not"),
        (Reply(404, b"<html>no such page</html>"), 3, "404 Not Found"),
        (Reply(200, b'{"version": 1, "nodes": [], "edges": []}'), 3, "no release of any channel"),
    ],
    ids=["500", "page", "half", "other-json", "noise", "404", "empty"],
)
def test_an_update_graph_that_answers_nonsense_is_named_and_the_lock_stays(
    site: Site, web: WebServer, reply: Reply, code: int, said: str
) -> None:
    before = lock(site)
    web.answer = in_turn(reply)
    run = site.run("discover", "--graph", f"{web.url}/graph")
    assert run.code == code, run.stderr
    message = next(line for line in run.stderr.splitlines() if line.startswith("error: "))
    assert "graph" in message
    assert said in run.stderr
    assert "Traceback" not in run.stderr
    assert lock(site) == before


@pytest.mark.parametrize(
    ("reply", "code"),
    [(Reply(503), 4), (Reply(200, b"<html><p>sign in<br></html>"), 3), (Reply(403), 3)],
    ids=["503", "page", "403"],
)
def test_a_package_root_that_answers_nonsense_is_named_and_the_lock_stays(
    site: Site, web: WebServer, reply: Reply, code: int
) -> None:
    before = lock(site)
    web.answer = in_turn(reply)
    run = site.run("discover", "--packages", f"{web.url}{RELEASE}")
    assert run.code == code, run.stderr
    assert "package root" in run.stderr
    assert web.url in run.stderr
    assert lock(site) == before


def test_a_package_that_was_replaced_is_refused(lab: Lab, site: Site, web: WebServer) -> None:
    web.answer = in_turn(Reply(200, b"something else"))
    run = site.run("build", "--packages", web.url)
    cell = f"{NEWER_CLIENT}-{lab.kernels.newer}"
    assert run.code == 3, run.stderr
    assert run.cell(cell)["reason"].startswith(f"package root: {web.url}/")
    assert "the pin says" in run.cell(cell)["reason"]
    assert site.tags == set()
