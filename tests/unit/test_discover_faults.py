"""One release of many is broken in each way in which services break: it is unresolved, and nothing else changes.

The services are real ones, over sockets; retries wait for nothing.
"""

from __future__ import annotations

import gc
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests

from kmatrix.decide.formats.payload import Toolkit, read_toolkits
from kmatrix.effects.net import http
from kmatrix.effects.retry import ATTEMPTS
from kmatrix.values.errors import ProtocolError
from tests.unit.support.discovery_project import DiscoveryProject, discovery_project
from tests.unit.support.fake_registry import problem
from tests.unit.support.http_server import RESET, Reply, Request
from tests.unit.support.release_images import REFERENCES, MadeRelease, Part
from tests.unit.support.release_service import Fault, ReleaseService, release_service

SECRET = "s3cr3t-pull"
# All three eras of node images, and toolkits with and without labels.
KERNELS = {
    "4.11.3": "4.18.0-372.19.1.el8_6.x86_64",
    "4.16.1": "5.14.0-427.22.1.el9_4.x86_64",
    "4.16.2": "5.14.0-427.24.1.el9_4.x86_64",
    "4.16.3": "5.14.0-427.26.1.el9_4.x86_64",
    "4.19.4": "5.14.0-570.27.1.el9_6.x86_64",
    "4.19.5": "5.14.0-570.30.1.el9_6.x86_64",
    "4.22.6": "5.14.0-687.11.1.el9_8.x86_64",
}
RELEASES = tuple(MadeRelease(version, kernel) for version, kernel in KERNELS.items())
CHANNELS = ("stable-4.11", "stable-4.16", "stable-4.19", "stable-4.22")
BROKEN = "4.16.2"
RIGHT = {version: [kernel] for version, kernel in KERNELS.items()}
OTHERS = {version: kernels for version, kernels in RIGHT.items() if version != BROKEN}
PAGE = Reply(200, b"<html><title>Sign in</title></html>", {"Content-Type": "text/html"})

pytestmark = pytest.mark.usefixtures("slept")


@pytest.fixture
def service() -> Iterator[ReleaseService]:
    with release_service() as running:
        running.user = ("robot", SECRET)
        running.publish(RELEASES)
        yield running


@pytest.fixture
def project(service: ReleaseService, tmp_path: Path) -> DiscoveryProject:
    return discovery_project(tmp_path, service, CHANNELS)


def layer_of(content: bytes) -> Fault:
    """Replace content by other content: it has another digest."""
    return lambda reply: replace(reply, body=content)


def instead(reply: Reply) -> Fault:
    return lambda _: reply


@dataclass(frozen=True)
class Case:
    """A fault of one image's manifest, configuration or layer; `wanted` are the obstacle and words of the reason."""

    part: Part
    what: str
    fault: Fault
    obstacle: str
    reason: str
    said: str = ""

    @property
    def code(self) -> int:
        """The exit code."""
        return 3 if self.obstacle == "malformed" else 4


def cut(bytes_: int, reset: bool) -> Fault:
    return lambda reply: replace(reply, cut=min(bytes_, len(reply.body) // 2), reset=reset)


CASES = {
    "a layer that is reset": Case("payload", "layer", cut(99, True), "unreachable", "could not be queried for"),
    "a layer that breaks off": Case("payload", "layer", cut(99, False), "unreachable", "could not be queried for"),
    "a manifest that breaks off": Case("toolkit", "manifest", cut(99, False), "unreachable", "could not be queried"),
    "a reset": Case("toolkit", "manifest", instead(RESET), "unreachable", "could not be queried", "it closed|reset"),
    "a corrupt layer": Case(
        "payload", "layer", lambda reply: replace(reply, body=reply.body[:-9] + b"x" * 9), "malformed", "other content"
    ),
    "a longer layer": Case("toolkit", "layer", lambda r: replace(r, body=r.body + bytes(9)), "malformed", "more than"),
    "a corrupt manifest": Case(
        "toolkit", "manifest", lambda reply: replace(reply, body=reply.body + b" "), "malformed", "whose digest is"
    ),
    "a corrupt configuration": Case("node", "config", layer_of(b"{}"), "malformed", "a configuration whose digest is"),
    "a 403": Case("payload", "manifest", instead(problem(403, "DENIED")), "credential", "without a credential"),
    "a 403 for a component": Case("node", "manifest", instead(problem(403, "DENIED")), "credential", "a credential"),
    "a 404": Case(
        "toolkit",
        "manifest",
        instead(problem(404, "MANIFEST_UNKNOWN")),
        "malformed",
        "no such image",
        "no such image. If this site",
    ),
    "a 404 of a layer": Case("payload", "layer", instead(problem(404, "BLOB_UNKNOWN")), "malformed", "does not exist"),
    "a proxy's 404": Case("payload", "manifest", instead(Reply(404, PAGE.body)), "unreachable", "could not be queried"),
    "a 429": Case(
        "payload", "manifest", instead(Reply(429, headers={"Retry-After": "7"})), "unreachable", "could not", "429"
    ),
    "a 429 for an hour": Case(
        "node", "manifest", instead(Reply(429, headers={"Retry-After": "3600"})), "unreachable", "could not", "3600"
    ),
    "a 429 for a fraction of a second": Case(
        "payload", "manifest", instead(Reply(429, headers={"Retry-After": "1.5"})), "unreachable", "could not", "1.5"
    ),
    "a 503 for no time": Case(
        "payload", "manifest", instead(Reply(503, headers={"Retry-After": "soon"})), "unreachable", "could not", "soon"
    ),
    "a redirect to no address": Case(
        "payload",
        "manifest",
        instead(Reply(307, headers={"Location": "http://[x"})),
        "malformed",
        "redirects to an address that is not valid",
    ),
    "a redirect to no port": Case(
        "payload",
        "manifest",
        instead(Reply(307, headers={"Location": "http://127.0.0.1:99999/"})),
        "malformed",
        "redirects to an address that is not valid",
    ),
    "500": Case("toolkit", "manifest", instead(Reply(500)), "unreachable", "could not be queried", "500"),
    "503 of the storage": Case("payload", "layer", instead(Reply(503)), "unreachable", "could not be queried", "503"),
    "a page instead of a manifest": Case("payload", "manifest", instead(PAGE), "malformed", "whose digest is"),
    "a page instead of a layer": Case("payload", "layer", instead(PAGE), "malformed", "other content"),
    "a teapot": Case("toolkit", "manifest", instead(Reply(418)), "malformed", "answers 418"),
    "a redirect to nowhere": Case(
        "payload",
        "manifest",
        instead(Reply(307, headers={"Location": "http://127.0.0.1:1/x"})),
        "unreachable",
        "could not be queried",
    ),
    "a redirect without end": Case(
        "payload",
        "manifest",
        instead(Reply(307, headers={"Location": "?again"})),
        "malformed",
        "answers 307",
    ),
    "a bomb": Case(
        "payload", "layer", layer_of(gzip.compress(bytes(64 << 20))), "malformed", "the registry sent other content"
    ),
}


def break_one(service: ReleaseService, case: Case) -> None:
    service.faults[service.path(BROKEN, case.part, case.what)] = case.fault


@pytest.mark.parametrize("name", CASES)
def test_one_broken_release_is_unresolved_and_the_others_are_resolved(
    service: ReleaseService, project: DiscoveryProject, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    break_one(service, case)
    assert project.discover() == case.code
    said = capsys.readouterr().err
    assert project.kernels == OTHERS
    assert project.unresolved == {BROKEN: case.obstacle}
    (pin,) = project.pins.unresolved
    assert case.reason in pin.reason
    assert pin.payload.digest == service.payloads[BROKEN].images["payload"].digest
    assert bool(pin.toolkits) is (case.part != "payload")
    assert f"{BROKEN} for x86_64 is unresolved" in said
    assert any(word in said for word in case.said.split("|"))
    assert "Traceback" not in said
    assert SECRET not in said + project.text
    assert all(request.header("authorization") is None for request in service.storage.requests)
    # The same fault again is no news, and once it has passed the release is resolved as if it had never been.
    before = project.text
    assert project.discover() == case.code
    assert project.text == before
    service.faults.clear()
    assert project.discover() == 0
    assert project.kernels == RIGHT
    assert project.unresolved == {}


def test_a_quiet_discovery_names_what_needs_a_person_and_nothing_else(
    service: ReleaseService, project: DiscoveryProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.discover("--quiet") == 0
    assert capsys.readouterr().err == ""
    break_one(service, CASES["500"])
    # Other inputs make every release be read again; nothing is remembered on disk.
    discovery_project(project.root, service, [*CHANNELS, "stable-4.99"], flavours=["standard"])
    project.forget_answers()
    service.graphs["stable-4.99"] = Reply(200, json.dumps(service.graph_of("stable-4.99", [])).encode())
    service.faults["/v2/base/minimal/manifests/latest"] = instead(Reply(500))
    project.discover("--quiet")
    said = capsys.readouterr().err.splitlines()
    starts = [
        "discover: stable-4.99 for x86_64 gives no release ",
        f"discover: {BROKEN} for x86_64 cannot be read again, so its pins are kept: ",
        f"discover: {BROKEN} for x86_64 is unresolved: ",
        "discover: the base stays as pinned: ",
        "discover: 1 release is unresolved; ",
    ]
    assert [line[: len(start)] for line, start in zip(said, starts, strict=True)] == starts


def test_a_discovery_on_github_has_a_summary_of_what_is_new_and_what_is_open(
    service: ReleaseService,
    project: DiscoveryProject,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary = project.root / "summary"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    break_one(service, CASES["a teapot"])
    assert project.discover() == 3
    text = summary.read_text(encoding="utf-8")
    assert "discover: releases of profile site" in text
    assert f"{len(OTHERS)} releases with {len(OTHERS)} kernels; 1 open" in text
    assert "the first lock: " in text
    (pin,) = project.pins.unresolved
    row = next(line for line in text.splitlines() if f"<code>{BROKEN}</code> x86_64" in line)
    assert f"<code>release-unresolved: unresolved since {pin.since}: " in row
    assert "answers 418" in row
    (warning,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("::warning"))
    assert warning.startswith(f"::warning title={BROKEN} for x86_64::release-unresolved: ")
    summary.unlink()
    service.faults.clear()
    assert project.discover("--check") == 1
    text = summary.read_text(encoding="utf-8")
    assert f"{BROKEN} for x86_64 is resolved, with kernel {KERNELS[BROKEN]}" in text
    assert "<th>open</th>" not in text
    assert project.discover() == 0
    summary.unlink()
    assert project.discover() == 0
    assert "The lock is up to date." in summary.read_text(encoding="utf-8")
    assert "::warning" not in capsys.readouterr().err


def test_a_discovery_that_a_service_prevents_is_an_error_on_github(
    service: ReleaseService,
    project: DiscoveryProject,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    service.graphs[CHANNELS[0]] = Reply(500)
    assert project.discover() == 4
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("::error"))
    assert line.startswith("::error title=kmatrix::the update graph at ")


@pytest.mark.parametrize(
    "name", ["a layer that is reset", "a corrupt manifest", "a 403 for a component", "a 404", "500"]
)
def test_a_broken_release_that_was_resolved_keeps_its_pins(
    service: ReleaseService, project: DiscoveryProject, name: str
) -> None:
    assert project.discover() == 0
    before = project.pins.releases
    break_one(service, CASES[name])
    # Other inputs make every release be read again; nothing is remembered on disk.
    discovery_project(project.root, service, CHANNELS, flavours=["standard"])
    project.forget_answers()
    assert project.discover() == CASES[name].code
    assert project.pins.releases == before
    assert project.unresolved == {BROKEN: CASES[name].obstacle}


def test_packages_stay_pinned_while_no_kernel_is_known(service: ReleaseService, tmp_path: Path) -> None:
    """Nothing else has packages that the package root has lost since."""
    channel = {"name": "stable-4.16", "newest": 1}
    service.graphs["stable-4.16"] = Reply(200, json.dumps(service.graph_of("stable-4.16", ["4.16.1"])).encode())
    project = discovery_project(tmp_path, service, [channel])
    assert project.discover() == 0
    before = project.pins
    assert before.clients
    break_one(service, CASES["500"])
    service.graphs["stable-4.16"] = Reply(200, json.dumps(service.graph_of("stable-4.16", ["4.16.1", BROKEN])).encode())
    assert project.discover() == 4
    assert (project.kernels, project.unresolved) == ({}, {BROKEN: "unreachable"})
    assert project.pins.clients == before.clients
    assert project.pins.unavailable == before.unavailable


def packed(files: dict[str, bytes]) -> bytes:
    """Return a layer with files at any paths."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


OUTSIDE = {"../../etc/passwd": b"x", "/etc/shadow": b"x", f"../{REFERENCES}.d/x": b"x", "..": b"x"}


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (packed({REFERENCES: bytes(100 << 20)}), "bytes, more than any file that is read has"),
        (packed(OUTSIDE), "release-manifests/image-references is not in its uppermost 6 layers"),
        (packed({REFERENCES: PAGE.body}), "is not JSON"),
        (packed({REFERENCES: b"[" * 100_000}), "is not JSON"),
        (packed({REFERENCES: b'{"kind": "ImageStream"}'}), "it has no spec.tags"),
        (packed({REFERENCES: b'{"spec": {"tags": []}}'}), "names no driver-toolkit"),
        (gzip.compress(b"no archive" * 99), "not a readable archive"),
        (packed({REFERENCES: b"{}"})[:-20], "not a readable archive"),
        (b"", "is not in its uppermost 6 layers"),
    ],
    ids=["bomb", "paths outside", "page", "deep", "other kind", "no toolkit", "no archive", "half", "nothing"],
)
def test_a_payload_that_was_published_like_that_is_unresolved(
    service: ReleaseService, project: DiscoveryProject, layer: bytes, reason: str
) -> None:
    """Its digest is right: no retry and no other registry helps."""
    service.publish_again(BROKEN, layer)
    assert project.discover() == 3
    assert (project.kernels, project.unresolved) == (OTHERS, {BROKEN: "malformed"})
    assert reason in project.pins.unresolved[0].reason
    assert service.requests()[BROKEN] <= 8


def without_form(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """Return a change of a manifest's bytes."""

    def changed(raw: bytes) -> bytes:
        manifest = json.loads(raw)
        change(manifest)
        return json.dumps(manifest).encode()

    return changed


@pytest.mark.parametrize("part", ["payload", "toolkit", "node"])
@pytest.mark.parametrize(
    "change",
    [
        without_form(lambda manifest: manifest["config"].update(digest=5)),
        without_form(lambda manifest: manifest["config"].update(digest="sha256:../../../x")),
        without_form(lambda manifest: manifest["layers"][-1].update(digest=["sha256:0"])),
        without_form(lambda manifest: manifest["layers"][-1].update(mediaType=5)),
        without_form(lambda manifest: manifest["layers"][-1].update(size=float("inf"))),
        without_form(lambda manifest: manifest["config"].update(size=float("inf"))),
    ],
    ids=["digest a number", "digest a path", "digest a list", "media type", "size", "size of the configuration"],
)
def test_a_manifest_of_another_form_makes_its_release_alone_unresolved(
    service: ReleaseService, project: DiscoveryProject, part: Part, change: Callable[[bytes], bytes]
) -> None:
    service.publish_changed(BROKEN, part, change)
    assert project.discover() == 3
    assert (project.kernels, project.unresolved) == (OTHERS, {BROKEN: "malformed"})
    assert "not an image manifest" in project.pins.unresolved[0].reason


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "x,y"},
        {"GNU.sparse.size": "x"},
        {"GNU.sparse.realsize": "x"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        {"size": "-5"},
        {"size": "9" * 30},
    ],
    ids=["map", "size", "real size", "sparse", "negative", "endless"],
)
def test_a_layer_whose_headers_are_no_numbers_makes_its_release_alone_unresolved(
    service: ReleaseService, project: DiscoveryProject, headers: dict[str, str]
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo(REFERENCES)
        member.size = 5
        member.pax_headers = headers
        archive.addfile(member, io.BytesIO(b"hello"))
    service.publish_again(BROKEN, gzip.compress(buffer.getvalue()))
    assert project.discover() == 3
    assert (project.kernels, project.unresolved) == (OTHERS, {BROKEN: "malformed"})
    assert "not a readable archive" in project.pins.unresolved[0].reason


@pytest.mark.parametrize(
    "host", ["registry.example:70000", "registry..example", f"{'a' * 64}.example", "127.0.0.1:99999"]
)
def test_a_toolkit_at_an_address_that_cannot_be_makes_its_release_alone_unresolved(
    service: ReleaseService, project: DiscoveryProject, host: str
) -> None:
    tag = {"name": "driver-toolkit", "from": {"name": f"{host}/toolkit@sha256:{'0' * 64}"}}
    service.publish_again(BROKEN, packed({REFERENCES: json.dumps({"spec": {"tags": [tag]}}).encode()}))
    assert project.discover() == 3
    assert (project.kernels, project.unresolved) == (OTHERS, {BROKEN: "malformed"})
    assert host in project.pins.unresolved[0].reason


def test_a_payload_without_tag_and_digest_is_the_latest_one(service: ReleaseService, project: DiscoveryProject) -> None:
    graph = service.graph_of("stable-4.16", ["4.16.1", "4.16.2", "4.16.3"])
    graph["nodes"][1]["payload"] = f"{service.registry.address}/somewhere/else"
    service.graphs["stable-4.16"] = Reply(200, json.dumps(graph).encode())
    assert project.discover() == 3
    assert (project.kernels, project.unresolved) == (OTHERS, {BROKEN: "malformed"})
    assert str(project.pins.unresolved[0].payload).endswith("/somewhere/else:latest")


def test_paths_outside_beside_the_right_file_harm_nothing(service: ReleaseService, project: DiscoveryProject) -> None:
    payload = service.payloads[BROKEN].images["payload"]
    with tarfile.open(fileobj=io.BytesIO(payload.layers[-1])) as archive:
        file = archive.extractfile(REFERENCES)
        assert file
        references = file.read()
    service.publish_again(BROKEN, packed({**OUTSIDE, REFERENCES: references}))
    before = {path for path in project.root.parent.rglob("*") if project.root not in path.parents}
    assert project.discover() == 0
    assert project.kernels == RIGHT
    assert {path for path in project.root.parent.rglob("*") if project.root not in path.parents} == before


@pytest.mark.parametrize("failures", [1, ATTEMPTS - 1])
@pytest.mark.parametrize("part", ["payload", "toolkit", "node"])
def test_a_burst_of_faults_that_ends_costs_nothing(
    service: ReleaseService, project: DiscoveryProject, part: Part, failures: int
) -> None:
    left = [Reply(500), Reply(429, headers={"Retry-After": "1"}), RESET][:failures]
    service.faults[service.path(BROKEN, part)] = lambda reply: left.pop() if left else reply
    assert project.discover() == 0
    assert project.kernels == RIGHT


def test_an_answer_that_never_comes_ends_after_a_time(
    service: ReleaseService, project: DiscoveryProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = service.path(BROKEN, "toolkit")
    send = requests.Session.request
    limits = []

    def impatient(self: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
        if url.endswith(path):
            limits.append(options["timeout"])
            options["timeout"] = (10, 0.05)
        return send(self, method, url, **options)

    def never(reply: Reply) -> Reply:
        service.over.wait()
        return reply

    monkeypatch.setattr(requests.Session, "request", impatient)
    service.faults[path] = never
    assert project.discover() == 4
    assert (project.kernels, project.unresolved) == (OTHERS, {BROKEN: "unreachable"})
    assert set(limits) == {http._TIMEOUT_SECONDS}
    # One is refused for want of a token, and two time out.
    assert sum(request.path == path for request in service.registry.requests) <= 3


def test_a_registry_that_refuses_every_token_is_asked_twice_for_a_release(
    service: ReleaseService, project: DiscoveryProject
) -> None:
    path = service.path(BROKEN, "payload")
    refused = problem(401, "UNAUTHORIZED", **{"WWW-Authenticate": f'Bearer realm="{service.registry.url}/v2/auth"'})
    service.registry.answer = lambda request: refused if request.path == path else service.answer(request)
    assert project.discover() in (3, 4)
    assert project.kernels == OTHERS
    assert list(project.unresolved) == [BROKEN]
    assert service.requests()[BROKEN] == 2


# urllib3 leaves the socket of such an answer to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_answer_of_two_lengths_makes_its_release_alone_unresolved(
    service: ReleaseService, project: DiscoveryProject
) -> None:
    lengths = {"Content-Length": "5, 6"}
    service.faults[service.path(BROKEN, "payload")] = lambda reply: replace(reply, headers={**reply.headers, **lengths})
    assert project.discover() == 3
    # urllib3 leaves a response of which only the collector knows: its warning belongs to this test.
    gc.collect()
    assert (project.kernels, project.unresolved) == (OTHERS, {BROKEN: "malformed"})
    assert "a header that is not valid" in project.pins.unresolved[0].reason


@pytest.mark.parametrize("token", ["a\nb", "\u20ac", " ", ""])
def test_a_token_that_fits_in_no_header_makes_its_release_alone_unresolved(
    service: ReleaseService, project: DiscoveryProject, token: str
) -> None:
    path = service.path(BROKEN, "payload")
    realm = f'Bearer realm="{service.registry.url}/other-auth"'

    def answer(request: Request) -> Reply:
        if request.path == "/other-auth":
            return Reply(200, json.dumps({"token": token}).encode())
        refused = problem(401, "UNAUTHORIZED", **{"WWW-Authenticate": realm})
        return refused if request.path == path else service.answer(request)

    service.registry.answer = answer
    assert project.discover() == 3
    assert (project.kernels, project.unresolved) == (OTHERS, {BROKEN: "malformed"})
    assert "sent no token" in project.pins.unresolved[0].reason


def test_without_a_pull_secret_releases_and_toolkits_are_found_and_kernels_are_open(
    service: ReleaseService, project: DiscoveryProject, capsys: pytest.CaptureFixture[str]
) -> None:
    project.authfile.write_text("{}", encoding="utf-8")
    assert project.discover() == 4
    assert project.unresolved == dict.fromkeys(KERNELS, "credential")
    repository = f"{service.registry.address}/openshift-release-dev/ocp-v4.0-art-dev"
    for pin in project.pins.unresolved:
        toolkit = service.payloads[str(pin.version)].images["toolkit"]
        assert [image.digest for image in pin.toolkits] == [toolkit.digest]
        assert pin.credential == repository
    assert str(project.root) not in project.text
    assert project.run("plan") == 0
    assert repository in capsys.readouterr().err


def test_a_wrong_pull_secret_is_tried_once_for_a_repository(service: ReleaseService, project: DiscoveryProject) -> None:
    # The base, in another repository of the registry, is not concerned.
    wrong = {f"{service.registry.address}/openshift-release-dev": {"username": "robot", "password": "wrong"}}
    project.authfile.write_text(json.dumps({"auths": wrong}), encoding="utf-8")
    assert project.discover() == 4
    assert set(project.unresolved.values()) == {"credential"}
    refused = [request for request in service.registry.requests if request.path == "/v2/auth"]
    # A release gets no further than its payload; one request is for the base.
    assert len(refused) == len(KERNELS) + 1


def test_a_credential_goes_to_the_registry_and_its_token_service_alone(
    service: ReleaseService, project: DiscoveryProject
) -> None:
    assert project.discover() == 0
    assert service.storage.requests
    assert all(request.header("authorization") is None for request in service.storage.requests)
    shown = {
        request.path for request in service.registry.requests if "Basic" in (request.header("authorization") or "")
    }
    assert shown == {"/v2/auth"}


@pytest.mark.parametrize("fault", ["unresolved", "mismatch"])
def test_a_release_that_is_excluded_does_not_decide_the_exit_code(
    service: ReleaseService, tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if fault == "unresolved":
        break_one(service, CASES["a 404"])
    else:
        service.payloads.clear()
        wrong = MadeRelease(BROKEN, KERNELS[BROKEN], KERNELS[BROKEN].replace(".el", ".99.el"))
        service.publish(wrong if each.version == BROKEN else each for each in RELEASES)
    project = discovery_project(tmp_path, service, CHANNELS)
    assert project.discover() == 3
    excludes = [{"release": BROKEN, "reason": "its publisher knows"}]
    project = discovery_project(tmp_path, service, CHANNELS, excludes=excludes)
    capsys.readouterr()
    assert project.discover() == 0
    said = capsys.readouterr().err
    assert "shows why" not in said
    assert "nothing is built from this toolkit" not in said
    assert len(project.pins.unresolved) == (fault == "unresolved")
    # Another fault is none of that release's.
    service.faults[service.path("4.16.3", "payload")] = instead(problem(404, "MANIFEST_UNKNOWN"))
    project.forget_lock()
    project.forget_answers()
    assert project.discover() == 3


def test_a_reason_is_one_line_whatever_an_image_holds(
    project: DiscoveryProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A toolkit may name kernels in a list, and a node image several, with any characters."""

    def toolkits(text: str, where: str) -> tuple[Toolkit, ...]:
        if where == BROKEN:
            raise ProtocolError("KERNEL_VERSION is a list (5.14\n\t,\x00 6.12)", "Report it.")
        return read_toolkits(text, where)

    monkeypatch.setattr("kmatrix.stages.read_release.read_toolkits", toolkits)
    assert project.discover() == 3
    assert project.kernels == OTHERS
    assert project.pins.unresolved[0].reason == "KERNEL_VERSION is a list (5.14 , 6.12)"


# The time of a discovery


def times_of(project: DiscoveryProject, version: str) -> tuple[str | None, str | None]:
    """Return when a release was last not seen, and when it was found."""
    return next((pin.unseen, pin.found) for pin in project.pins.releases if str(pin.version) == version)


def at(project: DiscoveryProject, time: str) -> None:
    """Let the last discovery have been at a time."""
    path = project.root / "build" / "cache" / "discoveries.json"
    times = json.loads(path.read_text(encoding="utf-8"))
    times[project.profile]["at"] = time
    path.write_text(json.dumps(times), encoding="utf-8")


def test_a_check_that_saw_a_new_release_is_no_discovery_that_did_not(
    service: ReleaseService, project: DiscoveryProject
) -> None:
    assert project.discover() == 0
    at(project, "2026-01-02T03:04:05Z")
    service.publish([MadeRelease("4.16.9", "5.14.0-427.99.1.el9_4.x86_64")])
    assert project.discover("--check") == 1
    assert project.discover() == 0
    assert times_of(project, "4.16.9")[0] == "2026-01-02T03:04:05Z"


def test_a_release_of_a_channel_that_was_never_queried_has_no_time_at_which_it_was_not_there(
    service: ReleaseService, project: DiscoveryProject
) -> None:
    assert project.discover() == 0
    service.publish([MadeRelease("4.18.1", "5.14.0-427.68.1.el9_4.x86_64")])
    discovery_project(project.root, service, [*CHANNELS, "stable-4.18"])
    assert project.discover() == 0
    unseen, found = times_of(project, "4.18.1")
    assert unseen is None
    assert found


# A merge conflict


def test_discover_says_of_a_merge_conflict_to_take_a_side_and_not_to_remove_the_lock(
    project: DiscoveryProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.discover() == 0
    conflict = f"<<<<<<< ours\n{project.text}=======\n{project.text}>>>>>>> theirs\n"
    (project.root / "matrix.lock").write_text(conflict, encoding="utf-8")
    capsys.readouterr()
    assert project.discover() == 2
    said = capsys.readouterr().err
    assert "matrix.lock:1: has a merge conflict" in said
    assert "git checkout --theirs matrix.lock" in said
    assert "remove it" not in said
    assert project.text == conflict


# The toolkit's kernel


def test_a_toolkit_with_another_kernel_than_its_nodes_is_named_and_the_others_are_done(
    service: ReleaseService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.payloads.clear()
    wrong = [
        MadeRelease(each.version, each.kernel, each.kernel.replace(".el", ".99.el"))
        if each.version in ("4.11.3", BROKEN, "4.19.4", "4.22.6")
        else each
        for each in RELEASES
    ]
    service.publish(wrong)
    project = discovery_project(tmp_path, service, CHANNELS)
    assert project.discover() == 3
    assert project.unresolved == {}
    lacking = [str(pin.version) for pin in project.pins.releases if pin.lacks_node_kernel]
    assert lacking == ["4.11.3", BROKEN, "4.19.4", "4.22.6"]
    assert f"{BROKEN} for x86_64: its toolkit has {KERNELS[BROKEN]}, but its nodes run" in capsys.readouterr().err


# The graph


@pytest.fixture
def resolved(project: DiscoveryProject) -> DiscoveryProject:
    assert project.discover() == 0
    return project


@pytest.mark.parametrize(
    ("reply", "code", "said"),
    [
        (PAGE, 3, "is not JSON"),
        (Reply(200, b'{"version": 1, "nodes": [{"version": "4.16.1"'), 3, "is not JSON"),
        (Reply(200, gzip.compress(b" " * (80 << 20)), {"Content-Encoding": "gzip"}), 3, "more than the 64 MiB"),
        (Reply(200, b"[" * 200_000), 3, "is not JSON"),
        (Reply(401), 3, "401 Unauthorized"),
        (Reply(403, PAGE.body), 3, "403 Forbidden"),
        (Reply(400, b'{"kind": "invalid_params", "value": "no channel"}'), 3, "no channel"),
        (Reply(429, headers={"Retry-After": "3600"}), 4, "3600"),
        (Reply(500), 4, "500"),
        (RESET, 4, "could not be queried"),
        (Reply(200, b'{"nodes": [], "edges": []}', cut=9), 4, "could not be queried"),
    ],
    ids=["page", "half", "bomb", "deep", "401", "403", "400", "429", "500", "reset", "cut"],
)
def test_a_graph_that_fails_leaves_the_lock_as_it_is(
    service: ReleaseService,
    resolved: DiscoveryProject,
    reply: Reply,
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = resolved.text
    service.graphs["stable-4.16"] = reply
    assert resolved.discover() == code
    error = capsys.readouterr().err
    assert said in error
    assert "update graph" in error
    assert "Traceback" not in error
    assert resolved.text == before


@pytest.mark.parametrize(
    "reply",
    [Reply(200, b'{"version": 1, "nodes": [], "edges": [], "conditionalEdges": []}'), Reply(404, b"no such channel")],
    ids=["empty", "404"],
)
def test_an_unknown_or_empty_channel_loses_no_pin(
    service: ReleaseService, resolved: DiscoveryProject, reply: Reply
) -> None:
    releases = resolved.kernels
    service.graphs["stable-4.16"] = reply
    code = resolved.discover()
    assert code == (0 if reply.status == 200 else 3)
    assert resolved.kernels == releases
    marked = {str(pin.version) for pin in resolved.pins.releases if pin.gone}
    assert marked == ({"4.16.1", "4.16.2", "4.16.3"} if reply.status == 200 else set())


@pytest.mark.parametrize("place", ["same", "other"])
def test_a_graph_that_moved_is_followed(service: ReleaseService, project: DiscoveryProject, place: str) -> None:
    server = service.registry if place == "same" else service.storage
    plain = service.answer
    moved: Callable[[str], Reply] = lambda target: Reply(302, headers={"Location": f"{server.url}/moved{target}"})  # noqa: E731
    service.registry.answer = lambda request: (
        moved(request.target) if request.path.startswith("/api") else plain(request)
    )
    assert project.discover() == 0
    assert project.kernels == RIGHT


def test_a_graph_of_5000_nodes_is_read_for_the_releases_of_its_channel(
    service: ReleaseService, project: DiscoveryProject
) -> None:
    graph = service.graph_of("stable-4.16", ["4.16.1", "4.16.2", "4.16.3"])
    nodes = graph["nodes"]
    for number in range(5000):
        payload = f"{service.registry.address}/x@sha256:{number:064x}"
        metadata = {"io.openshift.upgrades.graph.release.channels": "stable-4.15,stable-4.16"}
        nodes.append({"version": f"4.15.{number}", "payload": payload, "metadata": metadata})
    graph["edges"] = [[start, end] for start in range(3, 5003) for end in (start - 1, start - 2, start - 3)]
    service.graphs["stable-4.16"] = Reply(200, json.dumps(graph).encode())
    assert project.discover() == 0
    assert project.kernels == RIGHT


# A registry that is down


def test_a_registry_that_is_down_is_asked_for_a_few_releases_and_not_for_all(
    service: ReleaseService, tmp_path: Path, slept: list[float]
) -> None:
    service.publish(MadeRelease(f"4.16.{number}", KERNELS[BROKEN]) for number in range(10, 200))
    project = discovery_project(tmp_path, service, CHANNELS)
    for version in service.payloads:
        service.faults[service.path(version, "payload")] = instead(Reply(503))
    assert project.discover() == 4
    asked = service.requests()
    assert set(project.unresolved.values()) == {"unreachable"}
    assert len(project.unresolved) == len(service.payloads)
    # Eight are under way at once when the fifth has shown that nothing answers.
    assert len(asked) <= 16
    assert asked.total() <= 16 * (ATTEMPTS + 1)
    assert sum(slept) <= 16 * 5


def test_releases_that_get_no_answer_among_others_that_do_stop_nothing(service: ReleaseService, tmp_path: Path) -> None:
    service.publish(MadeRelease(f"4.16.{number}", KERNELS[BROKEN]) for number in range(10, 58))
    project = discovery_project(tmp_path, service, ["stable-4.16"])
    down = {f"4.16.{number}" for number in range(10, 58, 3)}
    for version in down:
        service.faults[service.path(version, "payload")] = instead(Reply(503))
    assert project.discover() == 4
    assert set(project.unresolved) == down
    assert set(service.requests()) >= down


def test_a_registry_that_goes_down_in_the_middle_is_noticed_too(
    service: ReleaseService, tmp_path: Path, slept: list[float]
) -> None:
    service.publish(MadeRelease(f"4.16.{number}", KERNELS[BROKEN]) for number in range(10, 200))
    project = discovery_project(tmp_path, service, CHANNELS)
    versions = sorted(service.payloads, key=lambda version: [int(part) for part in version.split(".")])
    down = versions[20:]
    for version in down:
        service.faults[service.path(version, "payload")] = instead(Reply(503))
    assert project.discover() == 4
    assert set(project.unresolved) == set(down)
    asked = {version for version in service.requests() if version in down}
    # A release that was read before the end may be done after the first have noticed it.
    assert len(asked) <= 48
    assert sum(slept) <= 48 * 5
