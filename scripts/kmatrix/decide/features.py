"""Compares the features that a module was compiled with between the kernels of one line: none may vanish silently.

A line is what one client version has for one stream, architecture and flavour. The client's build probes the kernel's
headers, with errors discarded, and compiles features in or out without reporting it (ThinkParQ/beegfs,
client_module/build/feature-detect.sh and KernelFeatureDetection.mk); `images/beegfs-client/build-module` lists what a
compile used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.values.cells import Cell, CellResult, Finding

CHECK = "features"
# A macro that switches a feature off, such as BEEGFS_NO_RDMA: the feature is lost where the macro appears.
_SWITCHED_OFF = re.compile(r"BEEGFS_(NO|DISABLE)_[A-Z0-9_]+")
_MACRO = re.compile(r"[A-Z][A-Z0-9_]*")
_SHOWN = 8
LOST_NEXT_STEP = (
    "Compare the probes in the client's sources (feature-detect.sh, KernelFeatureDetection.mk) with both kernels' "
    "headers. To accept the loss, set feature_lost: warn in the profile; otherwise leave the kernel out by an exclude."
)

UNKNOWN_NEXT_STEP = (
    "Look for features-unknown in the cell's log: kbuild leaves a record (.NAME.o.cmd) beside each object, unless the "
    "client's module target cleans up after the compile. Set feature_lost: warn in the profile to publish without it."
)


@dataclass(frozen=True)
class CompiledFeatures:
    """The feature macros that one cell's module was compiled with, and the cell's line."""

    client: str
    stream: str
    arch: str
    flavour: str
    kernel: str
    macros: tuple[str, ...]

    @property
    def line(self) -> tuple[str, ...]:
        """The parts that cells must share to be compared."""
        return self.client, self.stream, self.arch, self.flavour


@dataclass(frozen=True)
class FeatureChange:
    """The difference between a cell and `before`, the kernel that it is compared with; macros are sorted."""

    before: str
    lost: tuple[str, ...]
    gained: tuple[str, ...]


def parse_features(text: str | None) -> tuple[str, ...] | None:
    """Return the macros of a list with one name a line, sorted; None for no list, or for a text that is none."""
    if text is None:
        return None
    names = text.split("\n")
    if names.pop() != "" or not all(_MACRO.fullmatch(name) for name in names):
        return None
    return tuple(sorted(set(names)))


def features_of_cell(cell: Cell, macros: tuple[str, ...]) -> CompiledFeatures:
    """Return a cell with the macros that its module was compiled with."""
    return CompiledFeatures(str(cell.client), cell.stream, cell.arch, cell.flavour, cell.kernel, macros)


def features_of_result(result: CellResult) -> CompiledFeatures | None:
    """Return a result's cell with its macros; None if they are not known."""
    if result.features is None:
        return None
    return CompiledFeatures(
        result.client, result.stream, result.arch, result.flavour, result.kernel, tuple(result.features)
    )


def change_from(before: CompiledFeatures, now: CompiledFeatures) -> FeatureChange:
    """Return the difference between two cells of one line."""
    gone, new = set(before.macros) - set(now.macros), set(now.macros) - set(before.macros)
    off = {name for name in new if _SWITCHED_OFF.fullmatch(name)}
    on = {name for name in gone if _SWITCHED_OFF.fullmatch(name)}
    return FeatureChange(before.kernel, tuple(sorted(gone - on | off)), tuple(sorted(new - off | on)))


def changes(known: Iterable[CompiledFeatures], *, strict: bool) -> dict[CompiledFeatures, FeatureChange]:
    """Compare every cell with the nearest earlier kernel of its line, by rpm's order of kernel releases.

    Args:
        known: the cells whose macros are known, in any order; the result does not depend on that.
        strict: compare with the nearest earlier kernel that lost nothing. A loss that is a failure must not become the
            measure for the kernels after it.

    Returns:
        the differences, without those cells that have no earlier kernel.
    """
    lines: dict[tuple[str, ...], list[CompiledFeatures]] = {}
    for each in set(known):
        lines.setdefault(each.line, []).append(each)
    found = {}
    for cells in lines.values():
        before: CompiledFeatures | None = None
        for each in sorted(cells, key=lambda cell: (natural(cell.kernel), cell.macros)):
            change = change_from(before, each) if before else None
            if change is not None:
                found[each] = change
            if change is None or not (strict and change.lost):
                before = each
    return found


def change_of(own: CompiledFeatures, known: Iterable[CompiledFeatures], *, strict: bool) -> FeatureChange | None:
    """Return the difference of one cell, as `changes` does; None if no earlier kernel of its line is known."""
    others = (each for each in known if each.line == own.line and each.kernel != own.kernel)
    return changes([own, *others], strict=strict).get(own)


def lost_finding(change: FeatureChange) -> Finding:
    """Return the finding of a change that loses features.

    `actual` has the macros that are new: where a kernel replaced an interface by another, its macro stands there.
    """
    off = [name for name in change.lost if _SWITCHED_OFF.fullmatch(name)]
    gone = [name for name in change.lost if name not in off]
    parts = []
    if gone:
        parts.append(f"the module of kernel {change.before} has {_some(gone)}, and this one has not")
    if off:
        parts.append(f"{_some(off)}, which that of kernel {change.before} has not, switches features off")
    return Finding(
        CHECK,
        "feature-lost",
        "; ".join(parts),
        expected=", ".join([*gone, *(f"no {name}" for name in off)]),
        actual=f"new: {', '.join(change.gained)}" if change.gained else "nothing new",
    )


def unknown_finding(path: str) -> Finding:
    """Return the finding of an image that does not list its features.

    Args:
        path: of the list in the image.
    """
    return Finding(CHECK, "features-unknown", f"the image has no readable {path}, so a lost feature would go unnoticed")


def about_features(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return those findings that the comparison of features made."""
    return tuple(finding for finding in findings if finding.check == CHECK)


def next_step_of(findings: Iterable[Finding]) -> str:
    """Return the next step where these findings about features are failures."""
    return LOST_NEXT_STEP if any(finding.code == "feature-lost" for finding in findings) else UNKNOWN_NEXT_STEP


def gained_note(change: FeatureChange) -> str:
    """Return a note about the macros that are new; empty if none is."""
    return f"features that kernel {change.before} has not: {', '.join(change.gained)}" if change.gained else ""


def compared(
    known: Mapping[str, CellResult], cells: Collection[str], *, fails: bool, again: Callable[[str], str]
) -> dict[str, CellResult]:
    """Compare the results of a run with those of all cells, so that cells built side by side are compared too.

    Args:
        known: the latest results of all planned cells, by cell id.
        cells: the cells of this run; the others' results stay.
        fails: whether a lost feature is a failure.
        again: returns the command that builds a cell again.

    Returns:
        the results that change, by cell id.
    """
    of_cell = {cell: own for cell, result in known.items() if (own := features_of_result(result)) is not None}
    found = changes(of_cell.values(), strict=fails)
    changed = {}
    for cell in cells:
        own = of_cell.get(cell)
        change = found.get(own) if own else None
        before = known[cell]
        next_step = f"{LOST_NEXT_STEP} {again(cell)} builds the cell again."
        after = _with_change(before, lost_finding(change) if change and change.lost else None, fails, next_step)
        if after != before:
            changed[cell] = after
    return changed


def _with_change(result: CellResult, lost: Finding | None, fails: bool, next_step: str) -> CellResult:
    """Return a result with a lost feature, or without the warning of an earlier comparison."""
    others = tuple(each for each in result.warnings if each.code != "feature-lost")
    if lost is None or any(each.code == "feature-lost" for each in result.findings):
        return replace(result, warnings=others)
    if not fails or result.verdict not in ("passed", "skipped"):
        return replace(result, warnings=(*others, lost))
    reason = f"{lost.code}: {lost.message}"
    if result.digest:
        reason += "; the image is published already, and stays"
    return replace(
        result,
        verdict="failed",
        reason=reason,
        findings=(*result.findings, lost),
        warnings=others,
        next_step=next_step,
    )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
