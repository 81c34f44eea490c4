"""Response bodies: parsed as JSON, or downloaded to a file and compared with a checksum."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import requests

from kmatrix.decide.formats.json_text import json_object
from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.net import http
from kmatrix.effects.net.encodings import content_of
from kmatrix.values.errors import ProtocolError

_NOT_THE_SERVICE = (
    "Fetch that address with curl: if a proxy or a sign-in page answers, set the address of the service itself."
)


def json_in(content: bytes, url: str, name: str) -> dict[str, Any]:
    """Parse a response's body as a JSON object.

    Args:
        content: the body.
        url: its address, for messages.
        name: of the sender, for messages.

    Raises:
        ProtocolError: it is not JSON, or not an object.
    """
    source = f"{name}: the reply from {url}"
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{source} is not JSON: {error}", _NOT_THE_SERVICE) from None
    return json_object(text, source, _NOT_THE_SERVICE)


def download(session: requests.Session, url: str, target: Path, sha256: str, service: str) -> None:
    """Download a file to `target`, replacing it, if the content has this SHA-256.

    Raises:
        UnreachableError: the server could not be reached, or broke off several times in a row.
        ProtocolError: the file does not exist, or its content differs.
    """

    def send() -> requests.Response:
        response = http.get(session, url, service)
        if response.status_code != requests.codes.ok:
            response.close()
            raise ProtocolError(
                f"{service}: {url} answers {response.status_code} {response.reason}",
                "Check whether the file is there under another name; "
                "`nox -s discover` for the same profile pins it again.",
            )
        return response

    data = http.read_body(send, lambda response: content_of(response, sha256), service)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ProtocolError(
            f"{service}: {url} has the SHA-256 {found}, but {sha256} is pinned",
            "If the file was replaced on purpose, run `nox -s discover` for the same profile and review the changes.",
        )
    write_atomically(target, data)
