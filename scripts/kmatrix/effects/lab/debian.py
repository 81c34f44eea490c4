"""Makes a Debian base image out of Debian's own package archive, where no registry has one to give."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from kmatrix.effects.engine.docker import Engine
from kmatrix.effects.engine.errors import engine_errors
from kmatrix.values.errors import ToolError

_SHOWN = 500


def bootstrap_base(engine: Engine, suite: str, repository: str, tag: str) -> None:
    """Bootstrap a minimal Debian and give it to the engine under a name.

    Raises:
        ToolError: mmdebstrap is not there, or fails.
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
        with engine_errors("import the base image"):
            engine.api.import_image_from_file(str(archive), repository=repository, tag=tag)
