"""The web server of the tests keeps a connection as HTTP/1.1 says, so that no test depends on who closes first."""

from __future__ import annotations

import http.client

import pytest

from tests.unit.support.http_server import Reply, web_server


@pytest.mark.parametrize("body", [[], [b"one\n", b"\r\n0\r\n\r\ntwo"]])
def test_a_connection_is_used_again_after_a_request_in_chunks(body: list[bytes]) -> None:
    with web_server(lambda asked: Reply(200, asked.body)) as web:
        client = http.client.HTTPConnection(web.address, timeout=60)
        client.connect()
        first = client.sock
        for _ in range(3):
            client.request("POST", "/", iter(body), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
            assert client.getresponse().read() == b"".join(body)
            # An ended connection would be seen here, and http.client would connect anew without a word.
            assert client.sock is first
            client.request("GET", "/")
            client.getresponse().read()
        assert client.sock is first
        client.close()
