"""Run the command line without the gates that boot: `python -m bench.without_boot build …`.

Bench and tests publish images so where they measure something other than boots; the product has no such option.
An image that was not booted must not reach a node, so a target that is not on this machine is refused.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kmatrix import cli
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import select_profile
from kmatrix.stages import gates
from kmatrix.values.errors import InputError


@contextmanager
def without_boot() -> Iterator[None]:
    """Leave the gates that boot out of the list of gates of this process for a while."""
    every = gates.GATES
    gates.GATES = tuple(gate for gate in every if not gate.boots)
    try:
        yield
    finally:
        gates.GATES = every


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (see `kmatrix.values.errors.Exit`)."""
    with without_boot():
        return cli.main(arguments, _refuse_other_machines)


def _refuse_other_machines(call: Invocation) -> None:
    """Refuse a target that nodes may pull from.

    Raises:
        InputError: the target, with overrides, is not a registry on a loopback address.
    """
    target = select_profile(call).effective.target
    if target is not None and not _is_loopback(target):
        raise InputError(
            f"{target} is not on this machine, and images that were not booted are published nowhere else",
            "Give a target on 127.0.0.1, or run `python -m kmatrix`, which boots each image first.",
        )


def _is_loopback(target: str) -> bool:
    host = target.partition("/")[0]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
