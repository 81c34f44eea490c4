"""The server of the report: only files of its folder, only reading, only for pages of its own address."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kmatrix.effects.disk.site import replace_site
from kmatrix.effects.net.static_server import StaticServer, is_own_host, static_server
from kmatrix.values.errors import InputError
from kmatrix.values.loopback import HOST

FILES = [
    ("index.html", "<p>näw"),
    ("assets/style.css", "p {}"),
    ("assets/report.js", "1"),
    ("index.json", "{}"),
    ("feed.xml", "<feed/>"),
    ("badges/8.3.1.svg", "<svg/>"),
    ("logs/a+b.log.txt", "line"),
    ("cells/x", "of no known kind"),
]


@contextmanager
def serving(folder: Path, port: int | None = None) -> Iterator[StaticServer]:
    with static_server(folder, port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "build" / "report"
    replace_site(folder, FILES)
    (tmp_path / "build" / "secret.txt").write_text("secret", encoding="utf-8")
    (tmp_path / "build" / "report-of-others").mkdir()
    (tmp_path / "build" / "report-of-others" / "index.html").write_text("secret", encoding="utf-8")
    return folder


@pytest.fixture(name="server")
def _server(folder: Path) -> Iterator[StaticServer]:
    with serving(folder) as server:
        yield server


def answer(server: StaticServer, target: str, method: str = "GET", host: str = "") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
    try:
        connection.putrequest(method, target, skip_host=True)
        connection.putheader("Host", host or f"{HOST}:{server.port}")
        connection.endheaders()
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.html?from=here", "text/html; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/report.js", "text/javascript; charset=utf-8"),
        ("/index.json", "application/json; charset=utf-8"),
        ("/feed.xml", "application/xml; charset=utf-8"),
        ("/badges/8.3.1.svg", "image/svg+xml; charset=utf-8"),
        ("/logs/a+b.log.txt", "text/plain; charset=utf-8"),
        ("/logs/a%2Bb.log.txt", "text/plain; charset=utf-8"),
        ("/cells/x", "application/octet-stream"),
    ],
)
def test_files_have_their_types_and_nothing_is_stored_or_guessed(server: StaticServer, target: str, kind: str) -> None:
    status, headers, content = answer(server, target)
    assert (status, headers["Content-Type"], headers["Content-Length"]) == (200, kind, str(len(content)))
    assert content
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "kmatrix"


def test_head_has_the_headers_alone(server: StaticServer) -> None:
    status, headers, content = answer(server, "/", "HEAD")
    assert (status, headers["Content-Length"], content) == (200, str(len("<p>näw".encode())), b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(server: StaticServer, method: str) -> None:
    status, headers, _ = answer(server, "/", method)
    assert (status, headers["X-Content-Type-Options"]) == (501, "nosniff")


@pytest.mark.parametrize(
    "target",
    [
        "/none.html",
        "/assets",
        "/assets/",
        "/cells/",
        "/assets//style.css",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/cells/../../secret.txt",
        "/../report-of-others/index.html",
        "/.written-by-kmatrix",
        "/%00",
        "/index.html%00",
        "/%ff",
        "/" + "a" * 5000,
        "index.html",
        "http://127.0.0.1/index.html",
        "/etc/passwd",
        "//etc/passwd",
        "/outside.html",
        "/pipe",
    ],
)
def test_nothing_else_is_served(server: StaticServer, folder: Path, target: str) -> None:
    (folder / "outside.html").symlink_to(folder.parent / "secret.txt")
    os.mkfifo(folder / "pipe")
    status, _, content = answer(server, target)
    assert status == 404
    assert b"secret" not in content
    assert b"style.css" not in content


def test_a_link_out_of_the_folder_is_refused_and_one_within_it_is_served(server: StaticServer, folder: Path) -> None:
    (folder / "first.html").symlink_to("index.html")
    (folder / "up").symlink_to("..")
    assert answer(server, "/first.html")[0] == 200
    assert answer(server, "/up/secret.txt")[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1", "127.0.0.1:1"])
def test_a_name_of_another_site_that_leads_to_this_machine_reads_nothing(server: StaticServer, host: str) -> None:
    status, _, content = answer(server, "/", host=host)
    assert (status, b"n\xc3\xa4w" in content) == (421, False)
    assert answer(server, "/", host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LocalHost", "[::1]"])
def test_a_name_of_this_machine_is_its_own_with_the_port_that_it_is_served_on(name: str) -> None:
    assert is_own_host(f"{name}:8000", 8000)
    assert not is_own_host(f"{name}:8001", 8000)
    assert not is_own_host(f"{name}:80", 8000)
    # Without a port a browser means 80.
    assert is_own_host(name, 80)
    assert is_own_host(f"{name}:80", 80)
    assert not is_own_host(name, 8000)


@pytest.mark.parametrize(
    "host",
    ["", ":80", "evil.example:80", "localhost.evil.example", "localhost@evil.example", "0.0.0.0", "::1"],
)
def test_a_name_that_others_may_own_is_never_its_own(host: str) -> None:
    assert not is_own_host(host, 80)


def test_capitals_in_the_name_of_this_machine_are_answered(server: StaticServer) -> None:
    assert answer(server, "/", host=f"LOCALHOST:{server.port}")[0] == 200


def test_a_new_report_is_served_from_the_same_address(server: StaticServer, folder: Path) -> None:
    assert answer(server, "/cells/x")[0] == 200
    replace_site(folder, [("index.html", "newer")])
    assert answer(server, "/")[2] == b"newer"
    assert answer(server, "/cells/x")[0] == 404


def test_a_port_in_use_is_an_error_if_it_was_named_and_else_another_is_chosen(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("kmatrix.effects.net.static_server.DEFAULT_PORT", port)
        with pytest.raises(InputError) as caught, static_server(folder, port):
            pass
        assert caught.value.message == f"cannot listen on 127.0.0.1:{port}: Address already in use"
        assert "--port" in caught.value.hint
        with serving(folder) as server:
            assert server.port != port
            assert server.address == f"http://127.0.0.1:{server.port}/"
            assert answer(server, "/")[0] == 200


def test_only_this_machine_is_served(server: StaticServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_client_that_goes_away_is_not_reported(server: StaticServer, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ConnectionResetError
    except ConnectionResetError:
        server.handle_error(None, None)
    answer(server, "/none")
    assert capsys.readouterr() == ("", "")
