"""Compare modules by the symbols that they need: which module of one kernel would load in another.

Nothing is published by it: a kernel's ABI is kept within a minor release at most, so this is a test per pair.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from kmatrix.decide.checks.crcs import LAYOUT_SYMBOL
from kmatrix.decide.checks.symbols import admitted, gpl_compatible, needed_symbols
from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.values.cells import Cell
from kmatrix.values.gate_record import STATIC_GATE, RecordedModule
from kmatrix.values.module import MODULE_NAME, KernelFacts, ModuleElf

# A result names so many cells at most; `abi` has the others, as cells with one value have interchangeable modules.
# Without a limit, results.json would grow with the square of the cells.
MOST_NAMED = 16
# So many published kernels before a cell's, and after it, are looked up for a run that is about a part of the cells.
_EARLIER, _LATER = 8, 4


def recorded_module(elf: ModuleElf, features: tuple[str, ...] | None) -> RecordedModule:
    """Return the facts about a module file that are recorded when it is published.

    A kernel of 6.14 or newer reads the extended table of CRCs, an older one `__versions`, which lacks symbols with long
    names; a module that passed the static checks has no CRC in one that differs from the other.
    """
    needs = {**dict.fromkeys(needed_symbols(elf), 0), **elf.versions, **elf.extended_versions}
    namespaces = tuple(sorted(set(elf.modinfo.get("import_ns", ()))))
    return RecordedModule(features, dict(sorted(needs.items())), namespaces, elf.first("license") or "", elf.depends)


def abi_of(module: RecordedModule) -> str:
    """Return 16 hexadecimal digits that identify the symbols which a module needs, with their CRCs."""
    text = json.dumps(sorted(module.needs.items()), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def would_load(module: RecordedModule, kernel: KernelFacts) -> bool:
    """Return whether a kernel would accept a module of another kernel, by rules 3, 4 and 7 of `decide.checks`.

    The kernel and its in-tree modules export every symbol that the module needs, with the CRC that it demands
    (kernel/module/version.c, check_version, which then skips the release in vermagic); those for GPL-compatible modules
    alone only if it is one; and it imports their namespaces.

    The kernel also compares the flags of vermagic (kernel/module/version.c, same_magic). They are not compared here:
    each of SMP, preempt, preempt_rt and mod_unload changes struct module or struct task_struct, and so CRCs.
    """
    # Without symbol CRCs the kernel compares the whole vermagic, and that of another kernel differs.
    if not kernel.modversions or not _demands_layout(module):
        return False
    exports, free = kernel.exports, gpl_compatible([module.licence])
    # Most kernels differ in this one already.
    if LAYOUT_SYMBOL not in exports or exports[LAYOUT_SYMBOL].crc != module.needs[LAYOUT_SYMBOL]:
        return False
    for symbol, crc in module.needs.items():
        export = exports.get(symbol)
        if export is None or export.crc != crc or (export.gpl and not free):
            return False
        if kernel.namespaces_enforced and not admitted(export.namespace, MODULE_NAME, module.namespaces):
            return False
    return True


def reusable_in(cell: Cell, kernel: KernelFacts, published: Iterable[tuple[Cell, RecordedModule]]) -> tuple[str, ...]:
    """Return the published cells of the same client whose modules would load in a cell's kernel, by its own facts.

    Args:
        cell: whose kernel.
        kernel: the toolkit's facts about it.
        published: cells with their recorded modules.

    Returns:
        The ids of at most `MOST_NAMED` cells, in the order of their kernels; the newest if there are more.
    """
    return newest(
        other.id
        for other, module in published
        if _line(other) == _line(cell) and other.kernel != cell.kernel and would_load(module, kernel)
    )


def reusable_by_records(published: Iterable[tuple[Cell, RecordedModule]]) -> dict[str, tuple[str, ...]]:
    """Return for each published cell the others of the same client whose modules would load in its kernel.

    Nothing is known of a kernel but the module that was published for it, which loads there. A module that needs no
    symbol, and no CRC, besides those that this one needs, that imports every namespace that this one imports, and whose
    licence is the same or GPL-compatible, would load there as well. That is a sufficient condition, not a necessary
    one: a module that needs one symbol more is not named, because it is unknown whether the kernel has it.

    Args:
        published: cells with their recorded modules.

    Returns:
        For each cell the ids as `reusable_in` returns them.
    """
    lines: dict[object, dict[_Form, list[str]]] = defaultdict(lambda: defaultdict(list))
    for cell, module in published:
        if _demands_layout(module):
            form = _Form(frozenset(module.needs.items()), frozenset(module.namespaces), module.licence)
            lines[_line(cell)][form].append(cell.id)
    found: dict[str, tuple[str, ...]] = {}
    for forms in lines.values():
        ordered = sorted((cell_id for ids in forms.values() for cell_id in ids), key=natural)
        place = {cell_id: number for number, cell_id in enumerate(ordered)}
        # The newest cells are those of the forms that have the newest cells.
        newest_first = sorted(forms, key=lambda form: -max(place[cell_id] for cell_id in forms[form]))
        for form, fitting in _fitting(newest_first, MOST_NAMED + 1).items():
            last = sorted(place[cell_id] for each in fitting for cell_id in forms[each])[-MOST_NAMED - 1 :]
            for cell_id in forms[form]:
                found[cell_id] = tuple(ordered[each] for each in last if ordered[each] != cell_id)[-MOST_NAMED:]
    return found


def newest(cells: Iterable[str]) -> tuple[str, ...]:
    """Return cell ids of one client in the order of their kernels; the last `MOST_NAMED` if there are more."""
    return tuple(sorted(set(cells), key=natural)[-MOST_NAMED:])


def neighbours(cells: Iterable[Cell], every: Iterable[Cell]) -> tuple[Cell, ...]:
    """Return the cells whose kernels are next to those of some cells, of the same client, stream and flavour.

    Args:
        cells: some of a plan.
        every: all of the plan.
    """
    lines: dict[object, list[Cell]] = defaultdict(list)
    for cell in every:
        lines[cell.client, cell.arch, cell.stream, cell.flavour].append(cell)
    places: dict[str, tuple[list[Cell], int]] = {}
    for line in lines.values():
        line.sort(key=lambda cell: natural(cell.kernel))
        places.update({cell.id: (line, place) for place, cell in enumerate(line)})
    wanted: dict[str, Cell] = {}
    for cell in cells:
        line, place = places.get(cell.id, ([], 0))
        wanted.update({near.id: near for near in line[max(0, place - _EARLIER) : place + _LATER + 1]})
    return tuple(wanted.values())


@dataclass(frozen=True)
class AbiClasses:
    """The number of different modules, by the symbols that they need, of one client for the kernels of one line.

    `cells` are those whose module is known, `classes` the different values of `abi` among them.
    """

    client: str
    stream: str
    arch: str
    flavour: str
    cells: int
    classes: int


def sound_abi(abi: str, gates: Mapping[str, str]) -> str:
    """Return the `abi` of a result, by the verdicts of its gates; empty if the static gate did not pass the module.

    A module that was refused may have been built against another kernel.
    """
    return abi if gates.get(STATIC_GATE) == "passed" else ""


def abi_classes(modules: Iterable[tuple[tuple[str, str, str, str], str]]) -> tuple[AbiClasses, ...]:
    """Return the number of ABI classes per client, stream, architecture and flavour, in the order of the modules.

    Args:
        modules: these four and `sound_abi` of each module; those without one are not counted.
    """
    lines: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for line, abi in modules:
        if abi:
            lines[line].append(abi)
    return tuple(AbiClasses(*line, len(found), len(set(found))) for line, found in lines.items())


@dataclass(frozen=True)
class _Form:
    """All that decides where a module loads."""

    needs: frozenset[tuple[str, int]]
    namespaces: frozenset[str]
    licence: str

    def loads_with(self, own: _Form) -> bool:
        """Return whether it loads in every kernel in which `own` does; see `reusable_by_records`."""
        return (
            self.needs <= own.needs
            and self.namespaces >= own.namespaces
            and (self.licence == own.licence or gpl_compatible([self.licence]))
        )


def _fitting(forms: Sequence[_Form], most: int) -> dict[_Form, list[_Form]]:
    """Return for each form the first ones, as many as are wanted, that load with it.

    Each is looked up by the need that fewest forms have, since comparing all pairs would take minutes for thousands.
    """
    count = Counter(need for form in forms for need in form.needs)
    by_rarest: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, form in enumerate(forms):
        by_rarest[min(form.needs, key=lambda need: (count[need], need))].append(number)
    found: dict[_Form, list[_Form]] = {}
    for own in forms:
        candidates = sorted(number for need in own.needs & by_rarest.keys() for number in by_rarest[need])
        fitting = (forms[number] for number in candidates if forms[number].loads_with(own))
        found[own] = list(islice(fitting, most))
    return found


def _demands_layout(module: RecordedModule) -> bool:
    return bool(module.needs.get(LAYOUT_SYMBOL))


def _line(cell: Cell) -> object:
    # CRCs tell flavours and streams apart by themselves.
    return cell.client, cell.arch
