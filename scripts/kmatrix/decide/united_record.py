"""One record of gates out of several about the same image, each of which a key that is believed has signed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from kmatrix.values.gate_record import GatePass, GateRecord, RecordedModule


def united(records: Iterable[GateRecord]) -> GateRecord | None:
    """Return the record with every entry of several; None if there are none.

    Records of another name or cell key than the newest one's are about other inputs, and left out. Of two passes of one
    gate the later counts, and the newest record that has a module or a revision gives it.

    Args:
        records: of one image, in any order.
    """
    in_order = sorted(records, key=_newest)
    if not in_order:
        return None
    last = in_order[-1]
    same = [record for record in in_order if is_of_same_image(record, last)]
    gates: dict[str, GatePass] = {}
    for record in same:
        for name, passed in record.gates.items():
            if name not in gates or gates[name].at <= passed.at:
                gates[name] = passed
    return replace(
        last,
        gates=gates,
        module=next((record.module for record in reversed(same) if record.module is not None), None),
        kernels=tuple(dict.fromkeys(kernel for record in same for kernel in record.kernels)),
        warnings=tuple(dict.fromkeys(warning for record in same for warning in record.warnings)),
        revision=next((record.revision for record in reversed(same) if record.revision), ""),
    )


def is_of_same_image(one: GateRecord, other: GateRecord) -> bool:
    """Whether two records of one digest are about the same cell or bundle, built from the same inputs."""
    return (one.name, one.cell_key) == (other.name, other.cell_key)


def adds_nothing(record: GateRecord, there: GateRecord | None) -> bool:
    """Whether every gate and fact of a record is in another record of the same image already."""
    if there is None or not is_of_same_image(there, record):
        return False
    return (
        record.gates.keys() <= there.gates.keys()
        and _module_adds_nothing(record.module, there.module)
        and set(record.kernels) <= set(there.kernels)
    )


def _module_adds_nothing(module: RecordedModule | None, there: RecordedModule | None) -> bool:
    if module is None:
        return True
    # A record of an earlier version does not have what the module depends on.
    return there is not None and (module.depends is None or there.depends is not None)


def _newest(record: GateRecord) -> tuple[str, str, str]:
    # Names break ties, so that the order of the registry's answer decides nothing.
    return max((passed.at for passed in record.gates.values()), default=""), record.name, record.cell_key
