"""Bootstraps a Debian base image out of Debian's own package archive, where no registry has one."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from kmatrix.effects.engine import Engine
from kmatrix.values.errors import ToolError

_SHOWN = 500


def bootstrap_base(engine: Engine, suite: str, repository: str, tag: str) -> None:
    """Bootstrap a minimal Debian, and import it into the engine under a name.

    Raises:
        ToolError: mmdebstrap is not installed, or fails.
        UnreachableError: the engine went away.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", suite, str(archive)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise ToolError("mmdebstrap is not installed", "Run ./scripts/bootstrap.") from error
        if done.returncode != 0:
            raise ToolError(
                f"mmdebstrap failed: {done.stderr.strip()[-_SHOWN:]}",
                "The lab needs Debian's package archive; check the network, then run `nox -s lab -- up` again.",
            )
        engine.import_image(archive, repository, tag)
