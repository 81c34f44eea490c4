"""Queries an update graph (Cincinnati) for the releases of a channel."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit, urlunsplit

import requests

from kmatrix.effects.net import http
from kmatrix.effects.net.encodings import GRAPH_BYTES, content_that
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import GO_ARCH, Arch

_SERVICE = "update graph"


def fetch_graph(address: str, channel: str, arch: Arch) -> str:
    """Return the graph of a channel as JSON text.

    Args:
        address: the service, e.g. https://api.openshift.com/api/upgrades_info/v1/graph.
        channel: e.g. stable-4.16.
        arch: the machine; the service takes Go's name of it.

    Raises:
        UnreachableError: the service could not be reached.
        ProtocolError: it answers with an error, not in UTF-8, or without end.
    """
    parts = urlsplit(address)
    url = urlunsplit(parts._replace(query=urlencode({"channel": channel, "arch": GO_ARCH[arch]})))
    session = http.new_session()

    def read(response: requests.Response) -> str:
        content = content_that(response, limit=GRAPH_BYTES)
        if response.status_code != requests.codes.ok:
            text = content.decode("utf-8", "replace")
            raise ProtocolError(
                f"the update graph answers {response.status_code} {response.reason} to {url}: {text[:200].strip()}",
                "Check the channel's name and the graph address in matrix.yaml.",
            )
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ProtocolError(
                f"the update graph's reply to {url} is not UTF-8 at byte {error.start}",
                "The lock file is unchanged. Check the graph address in matrix.yaml, and run the command again.",
            ) from error

    return http.read_body(lambda: http.get(session, url, _SERVICE, {"Accept": "application/json"}), read, _SERVICE)
