"""Debian's package archive, as containers reach it: the names of its kernel packages."""

from __future__ import annotations

from collections.abc import Callable

from kmatrix.effects.engine import Engine
from kmatrix.values.errors import ToolError


def archive_packages(engine: Engine, toolkit_base: str, say: Callable[[str], None]) -> tuple[str, ...]:
    """Return the names of all kernel packages that the archive offers.

    Raises:
        ToolError: the archive cannot be reached.
    """
    say("kernels: querying the package archive")
    command = ["sh", "-c", "apt-get update -qq && apt-cache pkgnames linux-"]
    with engine.container(toolkit_base, command, network="default") as container:
        done = engine.run(container)
    if done.status != 0:
        raise ToolError(
            f"the package archive could not be queried for kernels: {done.stderr.strip()[-300:]}",
            "Check that containers reach the network, then run the same command again.",
        )
    return tuple(done.stdout.split())
