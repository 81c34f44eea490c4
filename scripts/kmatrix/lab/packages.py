"""The lab's package root: the stand-in client, packaged, signed and laid out like the vendor's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.engine import Engine
from kmatrix.lab.layout import Layout
from kmatrix.values.engine import Mount
from kmatrix.values.errors import ToolError
from kmatrix.values.names import Arch, ClientVersion

LINES = ("el9", "el10")
Say = Callable[[str], None]


def make_packages(
    engine: Engine,
    layout: Layout,
    workshop: str,
    clients: tuple[ClientVersion, ...],
    fingerprint_file: Path,
    say: Say,
) -> None:
    """Rebuild the package root of the lab; an existing key is kept.

    Args:
        engine: runs the workshop.
        layout: of the lab.
        workshop: the workshop image.
        clients: the versions.
        fingerprint_file: the key's fingerprint is written to it.
        say: called with progress messages.

    Raises:
        ToolError: a package could not be built.
    """
    release = layout.www / "release"
    shutil.rmtree(release, ignore_errors=True)
    for client in clients:
        for line in LINES:
            say(f"packages: stand-in client {client} for {line}")
            fingerprint = package_client(engine, layout, workshop, release, ["--version", str(client), "--dist", line])
    write_atomically(fingerprint_file, fingerprint + "\n")


def add_packages(
    engine: Engine, layout: Layout, workshop: str, clients: tuple[ClientVersion, ...], arch: Arch, say: Say
) -> None:
    """Add the packages of another architecture to the package root of the lab; those that it has stay as they are.

    Args:
        engine: runs the workshop.
        layout: of the lab.
        workshop: the workshop image of that architecture.
        clients: the versions.
        arch: the architecture.
        say: called with progress messages.

    Raises:
        ToolError: a package could not be built.
    """
    for client in clients:
        for line in LINES:
            say(f"packages: stand-in client {client} for {line}, programs of {arch}")
            arguments = ["--version", str(client), "--dist", line, "--without-noarch"]
            package_client(engine, layout, workshop, layout.www / "release", arguments)


def package_client(engine: Engine, layout: Layout, workshop: str, out: Path, arguments: list[str]) -> str:
    """Package one client with images/lab-client/package into the package root `out`.

    Args:
        engine: runs the workshop.
        layout: where the sources and the key are.
        workshop: the workshop image.
        out: the package root, on this machine.
        arguments: of the packaging script, `--version` first.

    Returns:
        the key's fingerprint.

    Raises:
        ToolError: the script failed; its last lines are in the message.
    """
    out.mkdir(parents=True, exist_ok=True)
    layout.gnupg.mkdir(parents=True, exist_ok=True, mode=0o700)
    version = ClientVersion.parse(arguments[1])
    public_key = f"/out/{version.repository_directory}/gpg/GPG-KEY-beegfs"
    script = (
        "key=$1; shift; export HOME=/tmp; "
        '/lab-client/make-key --gnupghome /gnupg --public-key "$key" && '
        '/lab-client/package "$@" >&2'
    )
    mounts = [
        Mount(str(layout.images("client")), "/lab-client"),
        Mount(str(out), "/out", writable=True),
        Mount(str(layout.gnupg), "/gnupg", writable=True),
    ]
    signing = [] if "--unsigned" in arguments else ["--gnupghome", "/gnupg"]
    command = ["bash", "-c", script, "package-client", public_key, *arguments, "--out", "/out", *signing]
    with engine.container(workshop, command, user=f"{os.getuid()}:{os.getgid()}", mounts=mounts) as container:
        done = engine.run(container, timeout_seconds=600)
    if done.status != 0:
        tail = "\n  ".join(done.stderr.strip().splitlines()[-10:])
        raise ToolError(
            f"the stand-in client could not be packaged ({' '.join(arguments)}):\n  {tail}",
            "Fix the problem that the lines above name, in images/lab-client, then run `nox -s lab -- up` again.",
        )
    return done.stdout.split()[-1]
