"""A proxy that misbehaves between this machine and the registry: pushes of the engine, and reads of our own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import pytest

from tests.integration.support.faulty.servers import WRITE, Proxy, fault, misbehaving_proxy
from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, Run, Site, SiteMaker
from tests.integration.support.session import Session
from tests.unit.support.http_server import Reply, in_turn, web_server

UNAVAILABLE = {"status": 503}


@pytest.fixture(scope="module")
def proxy(lab: Lab, session: Session) -> Iterator[Proxy]:
    """A registry behind a proxy that misbehaves on request."""
    with misbehaving_proxy(lab, session) as started:
        yield started


class Project:
    """A site that publishes its one cell through the proxy."""

    def __init__(self, site: Site, proxy: Proxy) -> None:
        self.site = site
        self.proxy = proxy
        self.path = f"proxy-{secrets.token_hex(4)}"
        self.cell = f"{NEWER_CLIENT}-{site.lab.kernels.newer}"
        self.repository = f"{self.path}/beegfs-client"

    def build(self) -> Run:
        return self.site.run("build", "--target", f"{self.proxy.address}/{self.path}")

    def published(self) -> set[str]:
        """Return the registry's tags, queried past the proxy."""
        return self.proxy.registry.tags(self.repository)


@pytest.fixture(scope="module")
def shared(lab: Lab, module_sites: SiteMaker, proxy: Proxy) -> Project:
    """A project that is published already: its runs only read."""
    project = Project(module_sites(kernels=[lab.kernels.newer]), proxy)
    run = project.build()
    assert run.code == 0, run.stderr
    return project


@pytest.fixture
def project(lab: Lab, new_site: SiteMaker, proxy: Proxy) -> Iterator[Project]:
    """A project that publishes through the proxy, whose faults end with the test."""
    yield Project(new_site(kernels=[lab.kernels.newer]), proxy)
    proxy.faults()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that this process asks for; none of them is made."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


# Pushes go through the proxy


def test_a_push_that_is_turned_away_at_first_succeeds(project: Project) -> None:
    project.proxy.faults(
        fault(UNAVAILABLE, "/blobs/uploads/", ["POST"]), fault(UNAVAILABLE, "/manifests/", ["PUT"], times=2)
    )
    run = project.build()
    assert run.code == 0, run.stderr
    assert run.verdicts == {project.cell: "passed"}
    assert project.published() == {project.cell}
    assert project.proxy.registry.digest(project.repository, project.cell) == run.cell(project.cell)["digest"]
    asked = [request["fault"] for request in project.proxy.asked("/manifests/", ["PUT"])]
    by_digest = [["status"], ["status"], []]
    assert asked == [*by_digest, [], []], "by digest it is turned away twice, then taken, then recorded, then named"


def test_a_push_that_is_always_turned_away_names_nothing_and_the_next_run_goes_on(project: Project) -> None:
    project.proxy.faults(fault(UNAVAILABLE, "/manifests/", ["PUT"], times=None))
    run = project.build()
    assert run.code == 3, run.stderr
    assert run.verdicts == {project.cell: "errored"}
    assert run.cell(project.cell)["reason"].startswith(f"the image registry at http://{project.proxy.address}/")
    assert run.cell(project.cell)["digest"] == ""
    assert project.published() == set()
    assert len(project.proxy.asked("/manifests/", ["PUT"])) == 4
    project.proxy.faults()
    assert project.build().verdicts == {project.cell: "passed"}
    assert project.published() == {project.cell}


def test_a_push_that_is_asked_to_wait_waits(project: Project) -> None:
    project.proxy.faults(
        fault({"status": 429, "headers": {"Retry-After": "1"}}, "/manifests/", ["PUT"]),
        fault({"status": 429, "headers": {"Retry-After": "1"}}, "/tags/list"),
    )
    run = project.build()
    assert run.code == 0, run.stderr
    asked = [(request["method"], bool(request["fault"])) for request in project.proxy.asked()]
    tail = asked[asked.index(("PUT", True)) :] if ("PUT", True) in asked else []
    writes = [entry for entry in tail if entry[0] in WRITE]
    assert tail[:3] == [("PUT", True), ("GET", True), ("GET", False)]
    assert writes[-1] == ("PUT", False)


def test_a_push_to_which_another_manifest_is_shown_is_no_success(project: Project) -> None:
    project.proxy.faults(fault({"corrupt": True}, "/manifests/sha256:", ["GET"], times=None))
    run = project.build()
    assert run.code == 3, run.stderr
    assert "the registry sent a manifest whose digest is" in run.cell(project.cell)["reason"]


# Reads of published images go through the proxy


def skipped(run: Run, project: Project) -> None:
    assert run.code == 0, run.stderr
    assert run.verdicts == {project.cell: "skipped"}


def test_a_registry_that_is_away_for_a_moment_is_asked_again(shared: Project, slept: list[float]) -> None:
    shared.proxy.faults(fault(UNAVAILABLE, "/manifests/", times=3), fault({"status": 502}, "/blobs/", times=2))
    skipped(shared.build(), shared)
    assert len(shared.proxy.asked("/manifests/")) == 5, "the last one is that of the record"
    assert len(shared.proxy.asked("/blobs/")) == 4
    assert slept


def test_a_registry_that_asks_to_wait_is_not_asked_before(shared: Project, slept: list[float]) -> None:
    shared.proxy.faults(fault({"status": 429, "headers": {"Retry-After": "7"}}, "/manifests/"))
    skipped(shared.build(), shared)
    assert slept == [7]
    assert len(shared.proxy.asked("/manifests/")) == 3, "the last one is that of the record"


@pytest.mark.usefixtures("slept")
def test_a_registry_that_stays_away_is_asked_a_few_times(shared: Project) -> None:
    shared.proxy.faults(fault(UNAVAILABLE, times=None))
    before = (shared.site.root / "build" / "results.json").read_bytes()
    run = shared.build()
    assert run.code == 4
    assert f"the image registry at http://{shared.proxy.address}/v2/{shared.repository}/manifests/" in run.stderr
    assert "503 Service Unavailable" in run.stderr
    assert len(shared.proxy.asked()) == 4
    assert (shared.site.root / "build" / "results.json").read_bytes() == before


def test_a_404_of_the_proxy_does_not_read_as_absent(shared: Project) -> None:
    shared.proxy.faults(fault({"status": 404}, "/manifests/", times=None))
    run = shared.build()
    assert run.code == 4
    assert f"the image registry at http://{shared.proxy.address}/" in run.stderr
    assert "404 in a form that no registry uses" in run.stderr
    assert {request["method"] for request in shared.proxy.asked()} == {"GET"}


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize("do", [{"cut": 20}, {"truncate": 20}], ids=["reset", "truncated"])
def test_a_download_that_breaks_off_is_made_whole(shared: Project, do: dict[str, int]) -> None:
    shared.proxy.faults(fault(do, "/manifests/", times=2), fault(do, "/blobs/", times=2))
    skipped(shared.build(), shared)
    assert len(shared.proxy.asked("/blobs/")) == 4, "the last one is that of the record"


@pytest.mark.parametrize("part", ["manifests", "blobs"])
def test_content_of_another_digest_is_not_believed(shared: Project, part: str) -> None:
    shared.proxy.faults(fault({"corrupt": True}, f"/{part}/", times=None))
    before = shared.site.results()["cells"][0]
    run = shared.build()
    assert run.code == 3, run.stderr
    sent = {"manifests": "manifest", "blobs": "configuration"}[part]
    result = run.cell(shared.cell)
    assert result["verdict"] == "errored"
    assert f"the registry sent a {sent} whose digest is" in result["reason"]
    assert (run.builds, result["digest"]) == (0, before["digest"]), "it may well be published"


def test_a_credential_does_not_follow_a_redirect(shared: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    host = shared.proxy.address
    file = shared.site.root / "auth.json"
    file.write_text(f'{{"auths": {{"{host}": {{"auth": "cm9ib3Q6c2VjcmV0"}}}}}}', encoding="utf-8")
    monkeypatch.setenv("KMATRIX_AUTHFILE", str(file))
    config = shared.proxy.registry.manifest(shared.repository, shared.cell)["config"]["digest"]
    blob = shared.proxy.registry._ask("GET", f"{shared.repository}/blobs/{config}").content
    with web_server(in_turn(Reply(200, blob))) as elsewhere:
        shared.proxy.faults(
            fault({"status": 401, "headers": {"WWW-Authenticate": 'Basic realm="x"'}}, "/manifests/"),
            fault({"redirect": elsewhere.url}, "/blobs/"),
        )
        skipped(shared.build(), shared)
        of_image, of_record = [request["authorization"] for request in shared.proxy.asked("/blobs/")]
        assert of_image == of_record == "Basic cm9ib3Q6c2VjcmV0"
        assert [request.header("authorization") for request in elsewhere.requests] == [None]
