"""The values that a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kmatrix.values.cells import CellResult
from kmatrix.values.command_lines import command
from kmatrix.values.release_result import ReleaseResult

# A planned cell without a verdict has this word in the place of one, and these words for people.
PENDING = "pending"
NOT_BUILT = "not built yet"


@dataclass(frozen=True)
class PendingCell:
    """A cell that the plan has and that no run has brought to a verdict; its facts are those that a result has.

    Attributes:
        cell: its id.
        client: the client version.
        kernel: the kernel release.
        releases: the OpenShift releases that it is to serve.
        arch: of the kernel, as its flavour and stream.
        flavour: `standard`, `rt` or `64k`.
        stream: the RHEL major.
        verdict: the word in the place of a verdict; no result has it.
    """

    cell: str
    client: str
    kernel: str
    releases: tuple[str, ...]
    arch: str
    flavour: str
    stream: str
    verdict: ClassVar[str] = PENDING


@dataclass(frozen=True)
class Report:
    """What is known about the cells and releases of one profile at one time.

    Attributes:
        profile: its name.
        target: the registry (and path) that its images are pushed to; empty if it has none.
        made: when the report was made (UTC, ISO 8601).
        version: of this program.
        gates: the names of the profile's gates, in their order.
        cells: the results, in the order of the plan.
        releases: the profile's releases, oldest first.
        pending: the planned cells without a verdict, in the order of the plan; None if the plan is not known, and
            nothing may then be called complete.
        public_keys: paths of the keys that verify signatures of its images; empty if they are not signed by key.
        places: by session, the options that say where everything is (see `Invocation.places`).
        previous: the document `index.json` of the report before; empty if there was none.
        codes: the finding codes that the page `findings.html` describes.
        meanings: the text of docs/findings.md, which describes them; empty if it is not there.
    """

    profile: str
    target: str
    made: str
    version: str
    gates: tuple[str, ...]
    cells: tuple[CellResult, ...]
    releases: tuple[ReleaseResult, ...]
    pending: tuple[PendingCell, ...] | None
    public_keys: tuple[str, ...] = ()
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    previous: Mapping[str, Any] = field(default_factory=dict)
    codes: frozenset[str] = frozenset()
    meanings: str = ""

    @property
    def known_cells(self) -> tuple[CellResult | PendingCell, ...]:
        """Every cell that the report knows of: those with a verdict, then those without."""
        return (*self.cells, *(self.pending or ()))

    def command(self, session: str, *arguments: str) -> str:
        """Return a command, without backquotes, that acts on what the report is about."""
        return command(session, self.profile, *self.places.get(session, ()), *arguments).strip("`")


@dataclass(frozen=True)
class LogText:
    """A log of a cell.

    Attributes:
        name: of its file, `8.3.1-5.14.0-427.50.1.el9_4.x86_64.serial.log`.
        title: its name for people, `build and gates`.
        lines: its lines; control characters are removed.
    """

    name: str
    title: str
    lines: tuple[str, ...]
