"""The form in which a registry keeps a record of gates: an ordinary image with one small file, under a tag of its own.

The tag is derived from the digest that the record is about, as cosign derives the tags of its signatures
(sigstore/cosign, pkg/oci/remote/remote.go, normalize). The record is a file in an ordinary layer, under a manifest of
the kind that cells have: versions of Quay refuse layers of media types beyond a list in their configuration (quay/quay,
image/oci/manifest.py), so only some registries would keep a media type of this project's own. Quay also parses the
configuration, which needs a root file system and a history (quay/quay, image/docker/schema2/config.py).
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kmatrix.decide.cell_manifest import LAYER, cell_manifest
from kmatrix.decide.image_documents import Document, Layer
from kmatrix.values.gate_record import GatePass, GateRecord, RecordedModule
from kmatrix.values.names import digest as checked_digest
from kmatrix.values.names import digest_of

SCHEMA = 1
_FILE = "gates.json"
# The times that matter are in the file.
_CREATED = "1970-01-01T00:00:00Z"
_TITLE = "org.opencontainers.image.title"
# A record of a hundred gates is a hundredth of this, and so is a module that needs 250 symbols.
_MOST_BYTES = 1 << 20
_CRC = re.compile(r"0x[0-9a-f]{8}")


class MalformedRecordError(ValueError):
    """The content under the tag of a record is no record for that digest; the message has the reason."""


@dataclass(frozen=True)
class RecordImage:
    """A record as an image: its layer, its configuration and its manifest."""

    layer: bytes
    config: bytes
    manifest: Document


def record_tag(digest: str) -> str:
    """Return the tag of the record for a digest: `sha256-<hex>.gates`."""
    return f"{digest.replace(':', '-')}.gates"


def keepable(record: GateRecord) -> GateRecord:
    """Return a record as a registry keeps it: without its module if its file would be larger than a reader accepts.

    The gates decide about an image, and its module is information; so the module must not cost the gates.
    """
    if record.module is None or len(_archive(_content(record))) <= _MOST_BYTES:
        return record
    return replace(record, module=None)


def record_image(record: GateRecord) -> RecordImage:
    """Return a record as the image that a registry keeps; the same record gives the same layer."""
    archive = _archive(_content(record))
    layer = gzip.compress(archive, mtime=0)
    # No machine's architecture: nothing may run it.
    config = json.dumps(
        {
            "architecture": "unknown",
            "os": "unknown",
            "created": _CREATED,
            "config": {"Labels": {_TITLE: f"gates that {record.digest} has passed"}},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(archive)]},
            "history": [{"created": _CREATED, "created_by": "kmatrix: record of gates"}],
        },
        separators=(",", ":"),
    ).encode()
    return RecordImage(layer, config, cell_manifest(config, (Layer(digest_of(layer), LAYER, len(layer)),)))


def _content(record: GateRecord) -> bytes:
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "digest": record.digest,
        "name": record.name,
        "cell_key": record.cell_key,
        "gates": {
            name: {"verdict": "passed", "at": passed.at, "kmatrix": passed.version}
            for name, passed in sorted(record.gates.items())
        },
    }
    if record.module is not None:
        # Versions that know no module ignore this key, so the schema is the same.
        content["module"] = module_content(record.module)
    return json.dumps(content, indent=1).encode() + b"\n"


def module_content(module: RecordedModule) -> dict[str, Any]:
    """Return the facts about a module as a record has them, in values of JSON; `module_of` reads them."""
    content = {
        "features": None if module.features is None else sorted(module.features),
        "needs": {symbol: f"0x{crc:08x}" for symbol, crc in sorted(module.needs.items())},
        "namespaces": sorted(module.namespaces),
        "licence": module.licence,
    }
    # A record of an earlier version that is extended stays as it was.
    return content if module.depends is None else {**content, "depends": sorted(module.depends)}


def record_layer(manifest: bytes) -> str:
    """Return the digest of the one layer that the manifest of a record has.

    Raises:
        MalformedRecordError: it is no such manifest.
    """
    try:
        (layer,) = json.loads(manifest)["layers"]
        size = int(layer["size"])
        if size > _MOST_BYTES:
            raise MalformedRecordError(f"its layer has {size:.3g} bytes, and a record at most {_MOST_BYTES}")
        return checked_digest(layer["digest"])
    except MalformedRecordError:
        raise
    except Exception as error:
        # Whoever may push can write any bytes there, and they must not end a run.
        raise MalformedRecordError(f"its manifest is not that of an image with one layer ({_short(error)})") from error


def read_record(layer: bytes, layer_digest: str, digest: str) -> GateRecord:
    """Return the record in a layer.

    Args:
        layer: its bytes, compressed.
        layer_digest: as the manifest names it.
        digest: of the image that the record must be about.

    Raises:
        MalformedRecordError: the layer is damaged, or holds no record of a known schema for exactly that digest.
    """
    if digest_of(layer) != layer_digest:
        raise MalformedRecordError(f"its layer has the digest {digest_of(layer)} instead of {layer_digest}")
    try:
        content = _file(layer)
    except MalformedRecordError:
        raise
    except Exception as error:
        # As of the manifest: a header of tar alone makes tarfile raise six kinds of errors.
        raise MalformedRecordError(f"its layer cannot be unpacked ({_short(error)})") from error
    try:
        return _record(json.loads(content), digest)
    except MalformedRecordError:
        raise
    except Exception as error:
        raise MalformedRecordError(f"its {_FILE} is not as this program writes it ({_short(error)})") from error


def _record(content: Mapping[str, Any], digest: str) -> GateRecord:
    if content["schema"] is True or content["schema"] != SCHEMA:
        raise MalformedRecordError(
            f"it has schema {content['schema']!r:.40}, and this version of kmatrix knows {SCHEMA}"
        )
    if content["digest"] != digest:
        raise MalformedRecordError(f"it is about {content['digest']!r:.80}, another image")
    gates = {}
    for name, entry in content["gates"].items():
        if entry["verdict"] != "passed":
            raise MalformedRecordError(f"it has the verdict {entry['verdict']!r:.40} for gate {name!r:.40}")
        gates[_text(name)] = GatePass(_text(entry["at"]), _text(entry["kmatrix"]))
    module = module_of(content["module"]) if "module" in content else None
    return GateRecord(digest, _text(content["name"]), _text(content["cell_key"]), gates, module)


def module_of(content: Mapping[str, Any]) -> RecordedModule:
    """Return the facts about a module out of a record.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: they are not as this program writes them.
    """
    features = None if content["features"] is None else _texts(content["features"])
    # Modules of thousands of kernels need the same symbols, and a run keeps them all.
    needs = {sys.intern(_text(symbol)): _crc(crc) for symbol, crc in content["needs"].items()}
    depends = None if content.get("depends") is None else _texts(content["depends"])
    return RecordedModule(features, needs, _texts(content["namespaces"]), _text(content["licence"]), depends)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.40} is no list")
    return tuple(sorted(sys.intern(_text(each)) for each in value))


def _crc(value: object) -> int:
    if not _CRC.fullmatch(_text(value)):
        raise ValueError(f"{value!r:.40} is no CRC")
    return int(str(value), 16)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    # A lone surrogate is valid JSON, and no terminal and no file takes it.
    value.encode()
    return value


def _short(error: Exception) -> str:
    return f"{error!r:.200}"


def _file(layer: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(layer)) as packed:
        archive = packed.read(_MOST_BYTES + 1)
    if len(archive) > _MOST_BYTES:
        raise MalformedRecordError(f"its layer unpacks to more than {_MOST_BYTES} bytes")
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as files:
        file = files.extractfile(_FILE) if _FILE in files.getnames() else None
        if file is None:
            raise MalformedRecordError(f"its layer has no file {_FILE}")
        return file.read()


def _archive(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo(_FILE)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
