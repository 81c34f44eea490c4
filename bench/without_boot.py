"""Runs the command line with a list of gates that lacks the boot gate: `python -m bench.without_boot build …`.

Bench and tests publish images so where they measure something other than boots; the product has no such option.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kmatrix import cli
from kmatrix.stages import gates
from kmatrix.values.gate_record import BOOT_GATE


@contextmanager
def without_boot() -> Iterator[None]:
    """Leave the boot gate out of the list of gates of this process for a while."""
    every = gates.GATES
    gates.GATES = tuple(gate for gate in every if gate.name != BOOT_GATE)
    try:
        yield
    finally:
        gates.GATES = every


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code (see `kmatrix.values.errors.Exit`)."""
    with without_boot():
        return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
