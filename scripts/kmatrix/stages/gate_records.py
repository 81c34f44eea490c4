"""Records of gates in a registry: read beside the image that they are about, and extended without losing an entry."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from kmatrix.decide.gate_record import (
    MalformedRecordError,
    keepable,
    read_record,
    record_image,
    record_layer,
    record_tag,
)
from kmatrix.effects.installed_version import installed_version
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.effects.retry import ATTEMPTS
from kmatrix.values.errors import InterruptedRunError, NotReadableError, ToolError
from kmatrix.values.gate_record import GatePass, GateRecord
from kmatrix.values.names import ImageRef

# The next step where a registry has something else than this program has just written.
OTHER_WRITER = "Something else writes to this repository or removes tags from it; give this project one of its own."
_FIRST_PAUSE_SECONDS = 0.5


class Records(Protocol):
    """The records of gates of a registry's images, in one of the forms that this program writes."""

    def find(self, ref: ImageRef, digest: str) -> GateRecord | None:
        """Return the record for the image with `digest`, or None where the registry has none that can be believed.

        Args:
            ref: a name in the image's repository.
            digest: of the image.

        Raises:
            UnreachableError, CredentialError, ProtocolError: the registry could not be queried. That is no absence.
        """

    def add(self, ref: ImageRef, record: GateRecord) -> None:
        """Have the registry keep every entry of `record`, beside those that it has for the same image and key.

        Args:
            ref: a name in the image's repository.
            record: the gates that were passed.

        Raises:
            UnreachableError, CredentialError, ProtocolError: the registry could not be queried, or refuses.
            ToolError: it keeps something else than was written.
            InterruptedRunError: the run was told to stop.
        """


@dataclass(frozen=True)
class PlainRecords:
    """Records under tags of their own (`sha256-<hex>.gates`), which anybody who may push can write.

    `say` is given a line that names a record which is not believed; `stopping` is whether the run was told to stop.
    """

    registry: RegistryWriter
    say: Callable[[str], None]
    stopping: Callable[[], bool] = lambda: False

    def find(self, ref: ImageRef, digest: str) -> GateRecord | None:
        """Return the record for an image (see `find_record`)."""
        return find_record(self.registry, ref, digest, self.say)

    def add(self, ref: ImageRef, record: GateRecord) -> None:
        """Write the entries of a record (see `add_to_record`)."""
        add_to_record(self.registry, ref, record, self.say, self.stopping)


def gate_passes(times: Mapping[str, str]) -> dict[str, GatePass]:
    """Return the entries of a record for gates that were passed at these times (UTC, ISO 8601).

    Raises:
        InputError: this program is not installed; `new_run` refuses that before anything is built.
    """
    version = installed_version()
    return {name: GatePass(at, version) for name, at in times.items()}


def find_record(registry: Registry, ref: ImageRef, digest: str, say: Callable[[str], None]) -> GateRecord | None:
    """Return the record for the image with `digest`, or None where the registry has none that can be believed.

    Args:
        registry: has the image.
        ref: a name in the image's repository.
        digest: of the image.
        say: is given a line that names a record which is not believed.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried. That is no absence.
    """
    name = ref.with_tag(record_tag(digest))
    manifest = registry.content(name, f"manifests/{name.tag}")
    if manifest is None:
        return None
    try:
        layer = record_layer(manifest)
        blob = registry.content(name, f"blobs/{layer}", layer)
        if blob is None:
            raise MalformedRecordError("the registry does not have its layer")
        return read_record(blob, layer, digest)
    except MalformedRecordError as error:
        say(f"note: {name} is not believed as a record of passed gates: {error}")
        return None


def add_to_record(
    registry: RegistryWriter,
    ref: ImageRef,
    record: GateRecord,
    say: Callable[[str], None],
    stopping: Callable[[], bool],
) -> None:
    """Write every entry of `record` to the registry, beside those that it has for the same image and key.

    A record without a module keeps the one that the registry has. A module too large for a record is left out.

    Two writers may do so at a time: each reads the record, writes both writers' entries, and reads back. An entry that
    is lost all the same costs one more run of its gate.

    Args:
        registry: has the image.
        ref: a name in the image's repository.
        record: the gates that were passed.
        say: see `find_record`.
        stopping: whether the run was told to stop.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried, or refuses.
        ToolError: it keeps something else under the record's name.
        InterruptedRunError: the run was told to stop.
    """
    name = ref.with_tag(record_tag(record.digest))
    record = keepable(record)
    there = find_record(registry, ref, record.digest, say)
    for attempt in range(1, ATTEMPTS + 1):
        _write(registry, name, _extended(there, record))
        there = _read_back(registry, ref, record, say, last=attempt == ATTEMPTS)
        if _holds(there, record):
            return
        if stopping():
            raise InterruptedRunError
        if attempt < ATTEMPTS:
            # A registry of many servers may send the earlier record for a moment (helm/helm#31348, of Quay).
            time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
            there = _read_back(registry, ref, record, say, last=False)
            if _holds(there, record):
                return
    raise ToolError(
        f"{name}: the registry does not keep the record of the gates that {record.name} has passed",
        OTHER_WRITER,
    )


def _extended(there: GateRecord | None, record: GateRecord) -> GateRecord:
    if there is None or not _of_same_image(there, record):
        return record
    gates = {**there.gates, **record.gates}
    # More gates may leave no room for a module that fitted beside fewer.
    return keepable(replace(record, gates=gates, module=record.module or there.module))


def _of_same_image(there: GateRecord, record: GateRecord) -> bool:
    return (there.name, there.cell_key) == (record.name, record.cell_key)


def _holds(there: GateRecord | None, record: GateRecord) -> bool:
    if there is None or not _of_same_image(there, record) or not record.gates.keys() <= there.gates.keys():
        return False
    return there.module is not None or _extended(there, record).module is None


def _write(registry: RegistryWriter, name: ImageRef, record: GateRecord) -> None:
    image = record_image(record)
    registry.put_blob(name, image.layer)
    registry.put_blob(name, image.config)
    registry.put_manifest(name, image.manifest.content, image.manifest.media_type)


def _read_back(
    registry: Registry, ref: ImageRef, record: GateRecord, say: Callable[[str], None], last: bool
) -> GateRecord | None:
    try:
        return find_record(registry, ref, record.digest, say)
    except NotReadableError:
        # Some registries answer so for a moment about something that was written just now.
        if last:
            raise
        return None
