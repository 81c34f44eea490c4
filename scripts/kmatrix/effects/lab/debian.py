"""Bootstraps a Debian base image out of Debian's own package archive, where no registry has one."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from pathlib import Path

from kmatrix.effects.engine import Engine
from kmatrix.effects.process.environment import child_environment
from kmatrix.values.errors import ToolError
from kmatrix.values.names import GO_ARCH, Arch

_SHOWN = 500
# For dpkg in the image: headers of 6.12 depend on their kernel, whose hooks build an initramfs that no toolkit has.
# Under emulation that takes minutes.
_UNDER_EMULATION = ("--dpkgopt=path-exclude=/etc/kernel/postinst.d/*", "--dpkgopt=force-unsafe-io")


def bootstrap_base(engine: Engine, suite: str, repository: str, tag: str, arch: Arch | None = None) -> None:
    """Bootstrap a minimal Debian, and import it into the engine under a name.

    Args:
        engine: gets the image.
        suite: of Debian.
        repository: the part of the name before the tag.
        tag: the part after it.
        arch: another architecture than this machine's, whose programs this machine can run.

    Raises:
        ToolError: mmdebstrap is not installed, or fails.
        UnreachableError: the engine went away.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        foreign = [f"--arch={GO_ARCH[arch]}", *_UNDER_EMULATION] if arch else []
        command = ["mmdebstrap", "--quiet", "--variant=minbase", *foreign, suite, str(archive)]
        try:
            done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise ToolError("mmdebstrap is not installed", "Run ./scripts/bootstrap.") from error
        if done.returncode != 0:
            raise ToolError(
                f"mmdebstrap failed: {done.stderr.strip()[-_SHOWN:]}",
                "The lab needs Debian's package archive; check the network, then run `nox -s lab -- up` again.",
            )
        engine.import_image(archive, repository, tag, arch)


def import_empty(engine: Engine, repository: str, tag: str, arch: Arch) -> None:
    """Import an image without files. Images built on it have its architecture; those `FROM scratch` have the engine's.

    Raises:
        UnreachableError, ToolError: the engine went away, or refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "empty.tar"
        with tarfile.open(archive, "w"):
            pass
        engine.import_image(archive, repository, tag, arch)
