"""HTTP: transient faults are retried a few times, credentials stay with their server, content is the pinned one."""

from __future__ import annotations

import gzip
import hashlib
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from kmatrix.effects.net import http
from kmatrix.effects.net.addresses import is_loopback, origin_of
from kmatrix.effects.net.bodies import download, json_in
from kmatrix.effects.net.encodings import content_of, content_that
from kmatrix.values.errors import Exit, InputError, ProtocolError, UnreachableError
from tests.unit.support.http_server import RESET, Reply, Request, WebServer, closed_port, has_ipv6, in_turn, web_server

SERVICE = "test service"
FINE = Reply(200, b"fine")
SECRET = {"Authorization": "Basic c2VjcmV0"}


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server(in_turn(FINE)) as server:
        yield server


@pytest.fixture
def elsewhere() -> Iterator[WebServer]:
    with web_server(in_turn(FINE)) as server:
        yield server


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with http.new_session() as made:
        yield made


def ask(session: requests.Session, url: str, headers: dict[str, str] | None = None) -> bytes:
    return http.read_body(lambda: http.get(session, url, SERVICE, headers), content_that, SERVICE)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.usefixtures("slept")
def test_a_transient_status_is_asked_again(web: WebServer, session: requests.Session, status: int) -> None:
    web.answer = in_turn(Reply(status), Reply(status), Reply(status), FINE)
    assert ask(session, f"{web.url}/x") == b"fine"
    assert len(web.requests) == 4


@pytest.mark.usefixtures("slept")
def test_a_service_that_never_recovers_is_asked_a_few_times(web: WebServer, session: requests.Session) -> None:
    web.answer = in_turn(Reply(503))
    with pytest.raises(UnreachableError, match=rf"the {SERVICE} at {web.url}/x .* 503 Service Unavailable") as caught:
        ask(session, f"{web.url}/x")
    assert len(web.requests) == 4
    assert caught.value.exit_code is Exit.UNREACHABLE


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_final_status_is_told_at_once(
    web: WebServer, session: requests.Session, slept: list[float], status: int
) -> None:
    web.answer = in_turn(Reply(status), FINE)
    with http.get(session, f"{web.url}/x", SERVICE) as response:
        assert response.status_code == status
    assert (len(web.requests), slept) == (1, [])


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed(web: WebServer, session: requests.Session, slept: list[float], status: int) -> None:
    web.answer = in_turn(Reply(status, headers={"Retry-After": "7"}), FINE)
    assert ask(session, f"{web.url}/x") == b"fine"
    assert slept == [7]


def test_a_pause_nobody_waits_for_is_not_cut_short(
    web: WebServer, session: requests.Session, slept: list[float]
) -> None:
    web.answer = in_turn(Reply(429, headers={"Retry-After": "3600"}), FINE)
    with pytest.raises(UnreachableError, match=r"429 Too Many Requests and asks to wait \(Retry-After: 3600\)"):
        ask(session, f"{web.url}/x")
    assert (len(web.requests), slept) == (1, [])


def test_nobody_there_is_a_refused_connection(session: requests.Session, slept: list[float]) -> None:
    with pytest.raises(UnreachableError, match=f"the {SERVICE} at .*: connection refused$") as caught:
        ask(session, f"http://127.0.0.1:{closed_port()}/")
    assert "nox -s lab" in caught.value.hint
    # A server that starts again is not there for some seconds: unlike a time-out, this costs none.
    assert slept == [0.6, 1.2]


@pytest.mark.usefixtures("slept")
def test_an_unknown_host_is_named(session: requests.Session) -> None:
    with pytest.raises(UnreachableError, match="its host name cannot be resolved") as caught:
        ask(session, "http://nowhere.invalid/")
    assert "matrix.yaml" in caught.value.hint


@pytest.mark.usefixtures("slept")
def test_a_reset_before_the_answer_is_asked_again(web: WebServer, session: requests.Session) -> None:
    web.answer = in_turn(RESET, FINE)
    assert ask(session, f"{web.url}/x") == b"fine"


@pytest.mark.usefixtures("slept")
def test_a_server_that_always_resets_is_asked_a_few_times(web: WebServer, session: requests.Session) -> None:
    web.answer = in_turn(RESET)
    with pytest.raises(UnreachableError, match="connection reset"):
        ask(session, f"{web.url}/x")
    assert len(web.requests) == 4


@pytest.mark.usefixtures("slept")
def test_a_server_that_does_not_answer_is_asked_twice(
    web: WebServer, session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt takes the complete time-out."""
    monkeypatch.setattr(http, "_TIMEOUT_SECONDS", (10, 0.05))
    over = threading.Event()

    def never(_: Request) -> Reply:
        over.wait()
        return FINE

    web.answer = never
    try:
        with pytest.raises(UnreachableError, match="time-out"):
            ask(session, f"{web.url}/x")
    finally:
        over.set()
    assert len(web.requests) == 2


@pytest.mark.parametrize("reset", [True, False])
def test_a_body_that_breaks_off_is_asked_again(
    web: WebServer, session: requests.Session, slept: list[float], reset: bool
) -> None:
    broken = Reply(200, b"x" * 1000, cut=400, reset=reset)
    web.answer = in_turn(broken, broken, FINE)
    assert ask(session, f"{web.url}/x") == b"fine"
    assert len(web.requests) == 3
    first, second = slept
    assert 0 < first < second


@pytest.mark.usefixtures("slept")
def test_bodies_that_always_break_off_end_in_an_error(web: WebServer, session: requests.Session) -> None:
    web.answer = in_turn(Reply(200, b"x" * 1000, cut=400))
    with pytest.raises(UnreachableError, match=SERVICE):
        ask(session, f"{web.url}/x")
    assert len(web.requests) == 4


def test_a_fault_of_the_content_is_no_reason_to_ask_again(web: WebServer, session: requests.Session) -> None:
    def read(response: requests.Response) -> bytes:
        raise UnreachableError(SERVICE, response.url, "says so itself")

    with pytest.raises(UnreachableError, match="says so itself"):
        http.read_body(lambda: http.get(session, f"{web.url}/x", SERVICE), read, SERVICE)
    assert len(web.requests) == 1


def redirect(target: str, status: int = 307) -> Reply:
    return Reply(status, headers={"Location": target})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_credential_does_not_follow_to_another_server(
    web: WebServer, elsewhere: WebServer, session: requests.Session, status: int
) -> None:
    web.answer = in_turn(redirect(f"{elsewhere.url}/blob", status))
    assert ask(session, f"{web.url}/x", {**SECRET, "Accept": "a/b"}) == b"fine"
    assert web.requests[0].header("authorization") == SECRET["Authorization"]
    assert elsewhere.requests[0].header("authorization") is None
    assert elsewhere.requests[0].header("accept") == "a/b"


def test_a_credential_does_not_come_back_on_a_second_redirect(
    web: WebServer, elsewhere: WebServer, session: requests.Session
) -> None:
    web.answer = in_turn(redirect(f"{elsewhere.url}/first"))
    elsewhere.answer = in_turn(redirect("/second"), FINE)
    assert ask(session, f"{web.url}/x", SECRET) == b"fine"
    assert [request.path for request in elsewhere.requests] == ["/first", "/second"]
    assert [request.header("authorization") for request in elsewhere.requests] == [None, None]


def test_a_credential_follows_on_the_same_server(web: WebServer, session: requests.Session) -> None:
    web.answer = in_turn(redirect("/moved"), FINE)
    assert ask(session, f"{web.url}/x", SECRET) == b"fine"
    assert [request.header("authorization") for request in web.requests] == [SECRET["Authorization"]] * 2


def test_redirects_end(web: WebServer, session: requests.Session) -> None:
    web.answer = in_turn(redirect("/again"))
    with http.get(session, f"{web.url}/x", SERVICE) as response:
        assert response.is_redirect
    assert len(web.requests) == 6


def test_the_retries_hold_for_where_a_redirect_leads(
    web: WebServer, elsewhere: WebServer, session: requests.Session, slept: list[float]
) -> None:
    web.answer = in_turn(redirect(f"{elsewhere.url}/blob"))
    elsewhere.answer = in_turn(Reply(503, headers={"Retry-After": "3"}), FINE)
    assert ask(session, f"{web.url}/x") == b"fine"
    assert slept == [3]


def test_a_netrc_brings_in_no_credential(
    web: WebServer, session: requests.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    ask(session, f"{web.url}/x")
    assert web.requests[0].header("authorization") is None


def test_servers_of_this_machine_are_not_asked_through_a_proxy(
    web: WebServer, elsewhere: WebServer, session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    web.answer = in_turn(redirect(f"{elsewhere.url}/blob"))
    assert ask(session, f"{web.url}/x") == b"fine"


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy"])
@pytest.mark.parametrize(
    ("proxy", "said", "advice"),
    [
        ("socks5://127.0.0.1:1", "a SOCKS proxy for http://service.invalid/x; only HTTP", "NO_PROXY"),
        ("SOCKS5h://user:word@127.0.0.1:1", "a SOCKS proxy", "an HTTP proxy"),
        ("user:word@127.0.0.1:1", "a proxy for http://service.invalid/x without http:// before", "Put http:// before"),
        ("http://user:wo/rd@127.0.0.1:1", "or of the proxy in the environment, is not valid", "%2F for /"),
    ],
)
def test_what_is_wrong_with_a_proxy_is_told_for_what_it_is(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch, name: str, proxy: str, said: str, advice: str
) -> None:
    """psf/requests, src/requests/adapters.py (get_connection_with_tls_context, SOCKSProxyManager) tells them apart."""
    monkeypatch.setenv(name, proxy)
    with pytest.raises(InputError, match=said) as caught:
        http.get(session, "http://service.invalid/x", SERVICE)
    assert advice in caught.value.hint
    assert "word@" not in f"{caught.value} {caught.value.hint}"


def test_a_proxy_of_where_a_redirect_leads_is_told_for_what_it_is(
    web: WebServer, session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    web.answer = in_turn(redirect("http://service.invalid/x"))
    with pytest.raises(InputError, match=r"a SOCKS proxy for http://service\.invalid/x"):
        http.get(session, f"{web.url}/x", SERVICE)


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b"\xff{}", b"{", b"", b"7"], ids=["deep", "no text", "open", "empty", "no object"]
)
def test_what_is_no_json_object_is_told_in_the_same_words(body: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"^the thing: the reply from http://host/x is not (JSON: |a JSON object)"):
        json_in(body, "http://host/x", "the thing")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_may_come_in_each_of_its_encodings(encoding: str) -> None:
    assert json_in('{"a": "ä"}'.encode(encoding), "http://host/x", "the thing") == {"a": "ä"}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:5080", True),
        ("127.9.9.9:80", True),
        ("localhost", True),
        ("localhost:5000", True),
        ("[::1]", True),
        ("[::1]:5000", True),
        ("LOCALHOST:5000", True),
        ("[::ffff:127.0.0.1]", True),
        ("[::ffff:7f00:1]:5000", True),
        ("user:word@127.0.0.1:5000", True),
        ("[::ffff:10.0.0.1]:5000", False),
        ("127.0.0.1@quay.io", False),
        ("localhost:x@quay.io:443", False),
        ("10.0.0.1:5000", False),
        ("quay.io", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com:443", False),
        ("[fd00::1]:5000", False),
    ],
)
def test_what_counts_as_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


class TestDownload:
    @pytest.fixture
    def target(self, tmp_path: Path) -> Path:
        return tmp_path / "folder" / "file"

    @staticmethod
    def bring(session: requests.Session, web: WebServer, target: Path, content: bytes = b"fine") -> None:
        download(session, f"{web.url}/file", target, hashlib.sha256(content).hexdigest(), SERVICE)

    def test_what_was_pinned_is_written(self, web: WebServer, session: requests.Session, target: Path) -> None:
        self.bring(session, web, target)
        assert target.read_bytes() == b"fine"
        assert [entry.name for entry in target.parent.iterdir()] == ["file"]

    @pytest.mark.usefixtures("slept")
    def test_a_broken_off_download_is_made_whole(self, web: WebServer, session: requests.Session, target: Path) -> None:
        web.answer = in_turn(Reply(200, b"fine", cut=2), FINE)
        self.bring(session, web, target)
        assert target.read_bytes() == b"fine"

    def test_other_content_is_refused_and_never_written(
        self, web: WebServer, session: requests.Session, target: Path
    ) -> None:
        target.parent.mkdir()
        target.write_bytes(b"before")
        web.answer = in_turn(Reply(200, b"<html>sign in</html>"))
        with pytest.raises(ProtocolError, match=f"{SERVICE}: {web.url}/file has the SHA-256 .* is pinned$"):
            self.bring(session, web, target)
        assert target.read_bytes() == b"before"
        assert len(web.requests) == 1

    def test_a_file_that_is_not_there_is_told(self, web: WebServer, session: requests.Session, target: Path) -> None:
        web.answer = in_turn(Reply(404, b"fine"))
        with pytest.raises(ProtocolError, match=f"{SERVICE}: .* answers 404 Not Found"):
            self.bring(session, web, target)
        assert not target.exists()


CODED = [
    ("gzip", gzip.compress(b"fine", mtime=0)),
    ("x-gzip", gzip.compress(b"fi", mtime=0) + gzip.compress(b"ne", mtime=0)),
    ("deflate", zlib.compress(b"fine")),
    (" GZIP ", gzip.compress(b"fine", mtime=0)),
]


def test_nothing_is_asked_for_in_an_encoding(web: WebServer, session: requests.Session) -> None:
    ask(session, f"{web.url}/x")
    assert web.requests[0].header("accept-encoding") == "identity"


@pytest.mark.parametrize(("encoding", "body"), CODED)
def test_an_encoding_that_nobody_asked_for_is_undone_if_that_gives_the_content(
    web: WebServer, session: requests.Session, encoding: str, body: bytes
) -> None:
    web.answer = in_turn(Reply(200, body, {"Content-Encoding": encoding}))
    with http.get(session, f"{web.url}/x", SERVICE) as response:
        assert content_of(response, hashlib.sha256(b"fine").hexdigest()) == b"fine"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_files_own_compression_is_no_encoding_whatever_the_server_calls_it(
    web: WebServer, session: requests.Session, tmp_path: Path, chunked: bool
) -> None:
    packed = gzip.compress(b"fine", mtime=0)
    web.answer = in_turn(Reply(200, packed, {"Content-Encoding": "gzip"}, chunked=chunked))
    download(session, f"{web.url}/x.gz", tmp_path / "x.gz", hashlib.sha256(packed).hexdigest(), SERVICE)
    assert (tmp_path / "x.gz").read_bytes() == packed


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"other", mtime=0), gzip.compress(b"fine", mtime=0)[:-4]])
@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_what_fits_neither_way_is_another_content(
    web: WebServer, session: requests.Session, tmp_path: Path, encoding: str, body: bytes
) -> None:
    web.answer = in_turn(Reply(200, body, {"Content-Encoding": encoding}))
    with pytest.raises(ProtocolError, match="has the SHA-256"):
        download(session, f"{web.url}/x", tmp_path / "x", hashlib.sha256(b"fine").hexdigest(), SERVICE)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.usefixtures("slept")
def test_an_encoded_body_that_breaks_off_is_asked_again(
    web: WebServer, session: requests.Session, tmp_path: Path, chunked: bool
) -> None:
    packed = gzip.compress(b"fine", mtime=0)
    coded = {"Content-Encoding": "gzip"}
    web.answer = in_turn(Reply(200, packed, coded, cut=12, chunked=chunked), Reply(200, packed, coded))
    download(session, f"{web.url}/x", tmp_path / "x", hashlib.sha256(b"fine").hexdigest(), SERVICE)
    assert (tmp_path / "x").read_bytes() == b"fine"


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_a_server_of_ipv6_is_asked(session: requests.Session) -> None:
    with web_server(in_turn(FINE), host="::1") as server:
        assert server.address.startswith("[::1]:")
        assert ask(session, f"{server.url}/x") == b"fine"


def test_requests_are_what_they_seem(web: WebServer, session: requests.Session) -> None:
    with http.get(session, f"{web.url}/x?a=b", SERVICE, method="HEAD") as response:
        assert response.status_code == 200
    assert web.requests == [Request("HEAD", "/x?a=b", web.requests[0].headers)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://Quay.io/a", "https://quay.io:443/b", True),
        ("http://quay.io/a", "http://quay.io:80/b", True),
        ("https://quay.io/a", "https://quay.io:80/a", False),
        ("https://quay.io/a", "http://quay.io/a", False),
        ("https://quay.io/a", "https://cdn.quay.io/a", False),
        ("http://127.0.0.1:5000/a", "http://127.0.0.1:5001/a", False),
    ],
)
def test_one_server_is_known_by_each_of_its_spellings(one: str, other: str, same: bool) -> None:
    assert (origin_of(one) == origin_of(other)) is same
