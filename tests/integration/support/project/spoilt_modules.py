"""Cells with one fault each beside a sound one, several in a run: each fault has a kernel of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kmatrix.values.names import image_tag
from tests.integration.support.lab import Lab
from tests.integration.support.project.build_cache import module_of
from tests.integration.support.project.site import NEWER_CLIENT, Run, Site, SiteMaker
from tests.integration.support.session import Session


@dataclass(frozen=True)
class Fault:
    """A fault that is put into a compiled module: shell commands (see `Site.sabotage`), or another content.

    `codes` are those of the findings that the cell must have, the first finding's first; `words` must be in that
    finding.
    """

    name: str
    codes: tuple[str, ...]
    commands: str = ""
    content: Callable[[bytes], bytes] | None = None
    words: str = ""


@dataclass(frozen=True)
class Spoilt:
    """A run with faulty cells and a sound one: its project, and the cell that each fault was put into."""

    site: Site
    run: Run
    cells: dict[Fault, str]
    sound: str


class SpoiltRuns:
    """Builds faults, as many in a run as there are kernels for; each run when its first fault is asked for."""

    def __init__(self, faults: Sequence[Fault], lab: Lab, session: Session, sites: SiteMaker) -> None:
        self._faults = faults
        self._kernels = (lab.kernels.newer, lab.kernels.real_time, lab.kernels.next_line)
        self._sound = lab.kernels.older
        self._session = session
        self._sites = sites
        self._runs: dict[int, Spoilt] = {}

    def assert_refused(self, fault: Fault) -> None:
        """Assert that the cell with a fault failed for that alone, and that the sound cell was published."""
        number = self._faults.index(fault) // len(self._kernels)
        if number not in self._runs:
            first = number * len(self._kernels)
            self._runs[number] = self._built(self._faults[first : first + len(self._kernels)])
        spoilt = self._runs[number]
        run, name = spoilt.run, spoilt.cells[fault]
        assert run.code == 1, run.stderr
        assert (run.verdicts[name], run.verdicts[spoilt.sound]) == ("failed", "passed"), run.stderr
        cell = run.cell(name)
        assert sorted(finding["code"] for finding in cell["findings"]) == sorted(fault.codes), cell
        assert fault.codes[0] in cell["reason"]
        assert any(fault.words in f"{cell['reason']} {finding['actual']}" for finding in cell["findings"]), cell
        assert cell["digest"] == ""
        assert image_tag(name) not in spoilt.site.tags
        assert image_tag(spoilt.sound) in spoilt.site.tags

    def _built(self, faults: Sequence[Fault]) -> Spoilt:
        kernels = dict(zip(faults, self._kernels, strict=False))
        site = self._sites(kernels=[self._sound, *kernels.values()])
        files: dict[str, bytes] = {}
        cases = []
        for fault, kernel in kernels.items():
            commands = fault.commands
            if fault.content is not None:
                files[kernel] = fault.content(module_of(self._session, NEWER_CLIENT, kernel))
                commands = f"cp $files/{kernel} $ko"
            cases.append(f"{kernel}) {commands} ;;")
        site.sabotage("*", "\n".join(["case $1 in", *cases, "esac"]), files)
        cells = {fault: f"{NEWER_CLIENT}-{kernel}" for fault, kernel in kernels.items()}
        return Spoilt(site, site.run("build"), cells, f"{NEWER_CLIENT}-{self._sound}")


def the(fault: Fault) -> str:
    """Return the name of a fault, for pytest."""
    return fault.name
