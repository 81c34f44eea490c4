"""The target registry needs a password, becomes unreachable during a run, or does not exist."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmatrix.effects.registry.auth import Authorizations
from kmatrix.effects.registry.credentials import Credentials, Login
from tests.integration.support.faulty.servers import Closed, closed_registry, stoppable_registry
from tests.integration.support.faulty.trigger import at_stage, one_at_a_time
from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, Site, SiteMaker
from tests.integration.support.session import Session
from tests.unit.support.http_server import closed_port

PASSWORD = f"p-{secrets.token_hex(12)}"


@pytest.fixture(scope="module")
def closed(lab: Lab, session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    """A registry with a password."""
    with closed_registry(lab, session, tmp_path_factory.mktemp("closed"), "robot", PASSWORD) as started:
        yield started


def authfile(folder: Path, host: str, password: str) -> str:
    path = folder / "auth.json"
    auth = base64.b64encode(f"robot:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}), encoding="utf-8")
    return str(path)


@pytest.fixture
def site(lab: Lab, new_site: SiteMaker) -> Site:
    """A project with one cell."""
    return new_site(kernels=[lab.kernels.newer])


def test_a_missing_credential_is_told_with_the_file_that_lacks_it(closed: Closed, site: Site, tmp_path: Path) -> None:
    path = f"missing-{secrets.token_hex(4)}"
    file = authfile(tmp_path, "other.example", PASSWORD)
    run = site.run("build", "--target", f"{closed.address}/{path}", "--authfile", file)
    assert run.code == 4
    assert f"{closed.address} asks for a credential for {path}/beegfs-client, and {file} has none" in run.stderr
    assert "--authfile" in run.stderr
    assert run.results == {}
    assert closed.tags(f"{path}/beegfs-client") == set()


def test_a_wrong_credential_is_refused_and_not_tried_again(closed: Closed, site: Site, tmp_path: Path) -> None:
    path = f"wrong-{secrets.token_hex(4)}"
    file = authfile(tmp_path, closed.address, "wrong-password")
    run = site.run("build", "--target", f"{closed.address}/{path}", "--authfile", file)
    assert run.code == 4
    assert f"{closed.address} refuses the credential that {file} has for {path}/beegfs-client" in run.stderr
    assert "wrong-password" not in run.stderr
    assert run.results == {}
    # Once without a credential, once with it.
    assert closed.asked(path) == 2


def test_the_right_credential_publishes_and_is_found_nowhere(closed: Closed, site: Site, tmp_path: Path) -> None:
    path = f"right-{secrets.token_hex(4)}"
    target = f"{closed.address}/{path}"
    run = site.run("build", "--target", target, "--authfile", authfile(tmp_path, closed.address, PASSWORD))
    assert run.code == 0, run.stderr
    (cell,) = run.results["cells"]
    repository = f"{path}/beegfs-client"
    assert closed.digest(repository, cell["cell"]) == cell["digest"]
    again = site.run("build", "--target", target, "--authfile", authfile(tmp_path, closed.address, PASSWORD))
    assert (again.code, again.verdicts) == (0, {cell["cell"]: "skipped"})
    written = [path for path in (site.root / "build").rglob("*") if path.is_file()]
    config = closed.config(repository, cell["cell"])
    encoded = base64.b64encode(f"robot:{PASSWORD}".encode())
    for secret in (PASSWORD.encode(), encoded):
        assert [path for path in written if secret in path.read_bytes()] == []
        assert secret not in config
        assert secret.decode() not in run.stderr + run.stdout + again.stderr


def test_a_push_that_is_refused_tells_which_credential(
    closed: Closed, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"revoked-{secrets.token_hex(4)}"
    file = authfile(tmp_path, closed.address, PASSWORD)
    cell = f"{NEWER_CLIENT}-{site.lab.kernels.newer}"

    # As if the password had been changed while the cell was built.
    def change() -> None:
        monkeypatch.setattr(Credentials, "login", lambda *_: Login("robot", "old"))
        monkeypatch.setattr(Authorizations, "known", lambda *_: {})

    at_stage(monkeypatch, "push", cell, change)
    run = site.run("build", "--target", f"{closed.address}/{path}", "--authfile", file)
    assert run.code == 3, run.stderr
    assert run.verdicts == {cell: "errored"}
    assert f"{closed.address} refuses the credential that {file} has" in run.cell(cell)["reason"]
    assert closed.tags(f"{path}/beegfs-client") == set()


def test_a_registry_that_stops_in_mid_run_costs_what_was_not_pushed_yet(
    lab: Lab, session: Session, new_site: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = new_site(kernels=[lab.kernels.older, lab.kernels.newer, lab.kernels.next_line])
    with stoppable_registry(lab, session) as (server, registry):
        arguments = ("build", "--target", f"{server.address}/stops", *one_at_a_time(monkeypatch))
        first, second, third = site.planned()
        with monkeypatch.context() as patch:
            at_stage(patch, "push", second, server.stop)
            run = site.run(*arguments)
        assert run.code == 3, run.stderr
        assert run.verdicts == {first: "passed", second: "errored", third: "errored"}
        for cell in (second, third):
            reason = run.cell(cell)["reason"]
            assert reason.startswith("the image registry at ")
            assert server.address in reason
            assert run.cell(cell)["digest"] == ""
        at_start = site.run(*arguments)
        assert at_start.code == 4
        assert f"the image registry at http://{server.address}/" in at_start.stderr
        assert at_start.verdicts == run.verdicts
        server.start()
        assert registry.tags("stops/beegfs-client") == {tag(first)}
        rest = site.run(*arguments)
        assert rest.code == 0, rest.stderr
        assert rest.verdicts == {first: "skipped", second: "passed", third: "passed"}
        assert registry.tags("stops/beegfs-client") == {tag(first), tag(second), tag(third)}


def test_a_registry_that_is_not_there_is_told_before_anything_is_built(site: Site) -> None:
    target = f"127.0.0.1:{closed_port()}"
    run = site.run("build", "--target", target)
    assert run.code == 4
    assert f"the image registry at http://{target}/v2/beegfs-client/manifests/" in run.stderr
    assert "connection refused" in run.stderr
    assert run.results == {}
    assert not list((site.root / "build").rglob("*.log"))


def tag(cell: str) -> str:
    return cell.replace("+", "_")
