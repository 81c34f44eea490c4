"""No secret in an address reaches a message, whichever module or library raises it."""

from __future__ import annotations

import io
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import docker.auth
import pytest
from rich.console import Console

from kmatrix.commands.guard import guarded
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.effects.disk.git import source
from kmatrix.effects.engine.docker.errors import build_error
from kmatrix.effects.engine.errors import registry_error
from kmatrix.effects.net import http
from kmatrix.effects.net.package_root import PackageRoot
from kmatrix.effects.net.update_graph import fetch_graph
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.values.errors import KmatrixError
from kmatrix.values.names import ImageRef
from tests.unit.support.fake_registry import FakeRegistry, fake_registry, layer
from tests.unit.support.http_server import Reply, closed_port, in_turn, web_server

SECRET = "s3cr3t"
USERS = (
    f"user:{SECRET}",
    SECRET,
    f"user:a/{SECRET}",
    f"user:{SECRET}@b",
    f"user:a?{SECRET}",
    f"{SECRET}:x-oauth-basic",
)
QUERY = f"?sig={SECRET}&X-Amz-Signature={SECRET}"

pytestmark = pytest.mark.usefixtures("slept")


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with fake_registry() as running:
        running.image("team/image", [layer({"a": b"1"})], {})
        yield running


def registry() -> Registry:
    return Registry(Credentials({}, "the-file", docker.auth.AuthConfig({})))


def assert_silent(work: Callable[[], object]) -> None:
    """Return an error as terminal, log and results show it, its cause included, and check that it has no secret."""
    caught: list[BaseException] = []

    def run() -> int:
        try:
            work()
        except Exception as error:
            caught.append(error)
            raise
        return 0

    out = io.StringIO()
    assert guarded(Console(file=out, width=500), run, "interrupted") != 0
    (error,) = caught
    assert isinstance(error, KmatrixError), repr(error)
    assert SECRET not in out.getvalue()
    assert SECRET not in f"{error} {error!r} {error.message} {error.hint} {error.args}"
    # As for an internal error of this program.
    again = io.StringIO()

    def fault() -> int:
        raise RuntimeError("".join(traceback.format_exception(error)))

    guarded(Console(file=again, width=500), fault, "interrupted")
    assert SECRET not in again.getvalue()


@pytest.mark.parametrize("user", USERS)
def test_of_an_address_with_a_user(user: str, tmp_path: Path) -> None:
    with http.new_session() as session:
        address = f"127.0.0.1:{closed_port()}/x{QUERY}"
        assert_silent(lambda: http.get(session, f"http://{user}@{address}", "service"))
        assert_silent(lambda: http.get(session, f"http://{user}@[/x{QUERY}", "service"))
    assert_silent(lambda: fetch_graph(f"http://{user}@{address}", "stable-4.16", "x86_64"))
    assert_silent(lambda: PackageRoot(f"http://{user}@{address}", tmp_path).read("gpg/key"))


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", ["http_proxy", "ALL_PROXY"])
def test_of_a_proxy(monkeypatch: pytest.MonkeyPatch, user: str, name: str) -> None:
    for scheme in ("http", "socks5", "htp"):
        monkeypatch.setenv(name, f"{scheme}://{user}@127.0.0.1:{closed_port()}")
        with http.new_session() as session:
            assert_silent(lambda: http.get(session, "http://service.invalid/x", "service"))


@pytest.mark.parametrize(
    "reply", [Reply(503), Reply(404, b"<html>"), Reply(403), Reply(418), Reply(200, b"other"), Reply(200, b"x", cut=0)]
)
def test_of_where_a_blob_is_redirected_to(server: FakeRegistry, reply: Reply) -> None:
    asking = registry()
    ref = ImageRef.parse(f"{server.web.address}/team/image:1")
    manifest = asking.manifest(ref, "x86_64")
    assert manifest
    with web_server(in_turn(reply)) as store:
        for digest in (manifest.config, manifest.layers[0][0]):
            place = f"{store.url}/{digest}{QUERY}"
            server.instead[f"/v2/team/image/blobs/{digest}"] = Reply(307, headers={"Location": place})
        assert_silent(lambda: asking.config(manifest))
        assert_silent(lambda: asking.find_file(manifest, ["a"], 1))


@pytest.mark.parametrize("place", [f"http://user:{SECRET}@[/x{QUERY}", f"http://127.0.0.1:x{SECRET}/{QUERY}"])
def test_of_a_redirect_that_is_no_address(server: FakeRegistry, place: str) -> None:
    server.instead["/v2/team/image/manifests/1"] = Reply(307, headers={"Location": place})
    assert_silent(lambda: registry().resolve(ImageRef.parse(f"{server.web.address}/team/image:1")))


@pytest.mark.parametrize("status", [403, 404, 418, 503])
def test_of_where_a_blob_is_uploaded_to(status: int) -> None:
    writer = RegistryWriter(Credentials({}, "the-file", docker.auth.AuthConfig({})))
    with web_server(in_turn(Reply(status))) as store:
        place = Reply(202, headers={"Location": f"{store.url}/{QUERY}"})
        with web_server(lambda request: place if request.method == "POST" else Reply(404)) as front:
            assert_silent(lambda: writer.put_blob(ImageRef.parse(f"{front.address}/x"), b"blob"))


@pytest.mark.parametrize("realm", [f"http://user:{SECRET}@host/{QUERY}", f"https://user:{SECRET}@[/", f"/token{QUERY}"])
def test_of_a_token_service(server: FakeRegistry, realm: str) -> None:
    server.authorization, server.challenge = "nothing", f'Bearer realm="{realm}"'
    assert_silent(lambda: registry().resolve(ImageRef.parse(f"{server.web.address}/team/image:1")))


@pytest.mark.parametrize("body", [b"no", b"[]", b"{}"])
def test_of_a_token_services_query(server: FakeRegistry, body: bytes) -> None:
    server.authorization, server.challenge = "nothing", f'Bearer realm="{server.web.url}/token{QUERY}"'
    for status in (200, 404, 503):
        server.instead["/token"] = Reply(status, body)
        assert_silent(lambda: registry().resolve(ImageRef.parse(f"{server.web.address}/team/image:1")))


@pytest.mark.parametrize("user", [*USERS, f"user:a {SECRET}"])
def test_of_the_matrix(user: str) -> None:
    text = (Path(__file__).parents[2] / "matrix.yaml").read_text(encoding="utf-8")
    for key, value in (
        ("graph", f"https://{user}@host/x"),
        ("packages", f"https://{user}@host/x"),
        ("target", f"{user}@quay.io/team"),
        ("base", f"{user}@quay.io/team/x:1"),
    ):
        changed = "\n".join(
            f'{line.partition(":")[0]}: "{value}"' if line.strip().startswith(f"{key}:") else line
            for line in text.splitlines()
        )
        assert changed != text
        assert_silent(lambda changed=changed: read_matrix(changed))  # type: ignore[misc]


@pytest.mark.parametrize("user", [*USERS, f"git+{SECRET}", f"https:/{SECRET}"])
@pytest.mark.parametrize(
    "setting",
    [
        "graph: '{user}@host/x'",
        "graph: host/x{query}",
        "packages: '{user}@host/x y'",
        "packages: host/x y{query}",
        "mirrors: {{'{user}@host/x': quay.io/x}}",
        "mirrors: {{quay.io/x: '{user}@host/x'}}",
    ],
)
def test_of_an_address_whose_beginning_was_left_out(user: str, setting: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "matrix.yaml").read_text(encoding="utf-8")
    said = setting.format(user=user, query=QUERY)
    key = said.partition(":")[0]
    lines = [line for line in text.splitlines() if not line.strip().startswith(f"{key}:")]
    place = next(number for number, line in enumerate(lines) if line.strip().startswith("target:"))
    lines.insert(place, f"    {said}")
    assert_silent(lambda: read_matrix("\n".join(lines)))
    assert_silent(lambda: PackageRoot(f"{user.removeprefix('https:/')}@host/x{QUERY}", tmp_path))


def test_a_folder_is_named_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(KmatrixError, match=f"{tmp_path}/a@b: there is no such folder"):
        PackageRoot(f"{tmp_path}/a@b", tmp_path)


@pytest.mark.parametrize("user", USERS)
def test_of_where_a_checkout_is_from(user: str, tmp_path: Path) -> None:
    """It becomes a label of every image."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(
        ["git", "-C", tmp_path, "config", "remote.origin.url", f"https://{user}@host/team/x.git"], check=True
    )
    assert source(tmp_path) == "https://host/team/x"


def test_of_what_the_engine_says() -> None:
    words = f'Get "https://user:{SECRET}@host/v2/{QUERY}": proxyconnect tcp: dial http://u:{SECRET}@proxy: i/o timeout'
    for error in (
        build_error(words),
        registry_error("push", "x", words),
        registry_error("pull", "x", f"denied {words}"),
    ):
        assert SECRET not in f"{error} {error!r} {error.hint}"
