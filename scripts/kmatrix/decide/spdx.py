"""The parts of a bill of materials in SPDX 2.3's JSON form (spdx/spdx-spec, versions 2.3: chapters 6, 7 and 11).

The same facts give the same document. An element's identifier is made of what identifies the element, so that two
documents name it alike, and a bundle's is the union of its cells'. A field that is left out means NOASSERTION.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from kmatrix.values.project import PROJECT

NOASSERTION = "NOASSERTION"
DOCUMENT = "SPDXRef-DOCUMENT"
# The image that a document is about.
IMAGE = "SPDXRef-Image"
Element = dict[str, Any]
Relationship = tuple[str, str, str]
_NAMESPACE = f"{PROJECT}/spdx/"
_UNFIT = re.compile(r"[^A-Za-z0-9.-]+")
_SECONDS = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?Z")


def element_id(kind: str, *parts: str) -> str:
    """Return an element's identifier: `SPDXRef-`, its kind, the first part for readers, and a digest of all parts."""
    exact = hashlib.sha256("\0".join((kind, *parts)).encode()).hexdigest()[:12]
    readable = _UNFIT.sub("-", f"{kind}-{parts[0]}")[:80].strip("-.")
    return f"SPDXRef-{readable}-{exact}"


def element(
    spdx_id: str,
    name: str,
    version: str = "",
    *,
    purl: str = "",
    sha256: str = "",
    location: str = "",
    purpose: str = "",
    **more: str,
) -> Element:
    """Return a package, which in SPDX is anything that is distributed.

    Args:
        spdx_id: its identifier.
        name: of the package.
        version: empty if it has none.
        purl: its package URL.
        sha256: of the file, or of the image's manifest, in hexadecimal digits.
        location: where it can be downloaded from; empty if that is not known.
        purpose: one of the words of 7.24.
        more: other fields; those without a value are left out.
    """
    references = [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}]
    fields = {
        "SPDXID": spdx_id,
        "name": name,
        "versionInfo": version,
        "downloadLocation": location or NOASSERTION,
        "filesAnalyzed": False,
        "checksums": [{"algorithm": "SHA256", "checksumValue": sha256}] if sha256 else [],
        "externalRefs": references if purl else [],
        "primaryPackagePurpose": purpose,
        **more,
    }
    return {key: value for key, value in fields.items() if value not in ("", [])}


def document(
    name: str,
    digest: str,
    created: str,
    tool: str,
    elements: Iterable[Element],
    relationships: Iterable[Relationship],
) -> Element:
    """Return a document about the image with the identifier `IMAGE`.

    Args:
        name: repository of the image.
        digest: of the image; with the name, it identifies the document.
        created: the image's own time (RFC 3339, UTC).
        tool: name and version of the program, as `kmatrix-0.1.0`.
        elements: in any order, each as often as it is found.
        relationships: as pairs of identifiers with a word of 11.1 between them: (`a`, `CONTAINS`, `b`).
    """
    by_id = {each["SPDXID"]: each for each in elements}
    pairs = {(DOCUMENT, "DESCRIBES", IMAGE), *relationships}
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": f"{name}@{digest}",
        "documentNamespace": f"{_NAMESPACE}{name}/{_of_digest(digest)}",
        "creationInfo": {"created": to_seconds(created), "creators": [f"Tool: {tool}"]},
        "packages": [by_id[key] for key in sorted(by_id, key=lambda key: (key != IMAGE, key))],
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
            for one, kind, other in sorted(pairs)
        ],
    }


def is_document(content: Mapping[str, Any], digest: str) -> bool:
    """Return whether content is a document of this project about an image, as `document` returns it.

    Publishers may sign the documents of other programs with the same key: those name their elements otherwise.

    Args:
        content: anything.
        digest: of the image.
    """
    try:
        namespace: str = content["documentNamespace"]
        named = {DOCUMENT, *(str(each["SPDXID"]) for each in content["packages"])}
        related = {spdx_id for one, _, other in relationships_of(content) for spdx_id in (one, other)}
    except (KeyError, TypeError):
        return False
    ours = isinstance(namespace, str) and namespace.startswith(_NAMESPACE)
    return ours and namespace.endswith(f"/{_of_digest(digest)}") and IMAGE in named and related <= named


def _of_digest(digest: str) -> str:
    return digest.replace(":", "-")


def to_seconds(time: str) -> str:
    """Return a time of an image's configuration to the second, as SPDX has it (6.9); the earliest if it is malformed.

    Engines write nanoseconds (opencontainers/image-spec, config.md: RFC 3339).
    """
    match = _SECONDS.fullmatch(time)
    return f"{match[1]}Z" if match else "1970-01-01T00:00:00Z"


def relationships_of(content: Mapping[str, Any]) -> set[Relationship]:
    """Return the relationships of a document.

    Raises:
        KeyError, TypeError: it is not as `document` returns it.
    """
    return {
        (each["spdxElementId"], each["relationshipType"], each["relatedSpdxElement"])
        for each in content["relationships"]
    }
