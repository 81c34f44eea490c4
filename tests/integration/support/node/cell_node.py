"""A container of a cell's image that plays a node: tests write the files that the kernel and the host would show.

Root file system, capabilities and writable places are as in the cluster. Nothing of it is on this machine's disk.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import docker
import pytest
from docker.models.containers import Container

from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT
from tests.integration.support.session import LABEL, Session

PROGRAM = "/usr/local/sbin/beegfs-node"
INSTALLED = "/host/client"
NODE_NAME = "worker-1.example"
_PLACES = (
    *("/host/client", "/host/proc", "/host/etc", "/host/sys/kernel/security", "/lib/modules"),
    *("/run/beegfs-node", "/sys/module", "/etc/beegfs-node/auth"),
)
# Programs of the test go before those of the image.
_TEST = "/test"
_LIMIT = "60s"
_SAID = "\n@said"
_WHOLE = f"timeout --kill-after=1 {_LIMIT} bash -c \"$1\"; status=$?; printf '\\n@said'; exit $status"
_PATH = f"{_TEST}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


FILES = {
    OLDER_CLIENT: {"sbin/beegfs-ctl": "755 0:0"},
    NEWER_CLIENT: {"sbin/beegfs": "755 0:0", "sbin/mount.beegfs": "755 0:0"},
}
BOTH = pytest.mark.parametrize("version", [OLDER_CLIENT, NEWER_CLIENT])
OLDER_WITHOUT_SECRET = {"BEEGFS_HELPERD_AUTH": "disabled"}
REBUILDING = {"BEEGFS_REBUILD": "yes"}
FULL = {"/host/client": "size=1m"}


def files_of(version: str) -> dict[str, str]:
    """Return the files that an install leaves, with modes and owners."""
    return {**FILES[version], "beegfs-client.conf": "644 0:0", "version": "644 0:0"}


@dataclass(frozen=True)
class Said:
    """A command in the container: its exit status and output."""

    status: int
    stdout: str
    stderr: str


class LostOutputError(RuntimeError):
    """A command ran, and the engine returned nothing of its output, not even our own end mark."""


class CellNode:
    """The container, in which only programs run that a test starts."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def run(self, script: str, **environment: str) -> Said:
        """Run a bash script; it is ended, with all that it started, if it waits for something that never comes."""
        settings = {"PATH": _PATH, "NODE_NAME": NODE_NAME, **environment}
        result = self._container.exec_run(["bash", "-c", _WHOLE, "run", script], environment=settings, demux=True)
        stdout, stderr = cast("tuple[bytes | None, bytes | None]", result.output)
        printed = (stdout or b"").decode()
        if not printed.endswith(_SAID):
            raise LostOutputError(f"the engine told no output of: {script}")
        return Said(cast("int", result.exit_code), printed.removesuffix(_SAID), (stderr or b"").decode())

    def say(self, script: str) -> str:
        """Run a script that must succeed; returns its output."""
        done = self.run(script)
        assert done.status == 0, done
        return done.stdout.strip()

    def ask(self, script: str) -> str:
        """Run a script that may run twice, and does if the engine loses its output; return the output."""
        for _ in range(4):
            with suppress(LostOutputError):
                return self.say(script)
        return self.say(script)

    def client(self, *words: str, **environment: str) -> Said:
        """Run the image's program."""
        return self.run(shlex.join((PROGRAM, *words)), **environment)

    def write(self, path: str, text: str) -> None:
        """Write a file, and create its folder."""
        self.ask(f"mkdir -p {shlex.quote(path.rpartition('/')[0])}; printf %s {shlex.quote(text)} >{shlex.quote(path)}")

    def program(self, name: str, script: str) -> None:
        """Put a program of the test before the image's own of that name."""
        self.write(f"{_TEST}/{name}", f"#!/bin/bash\n{script}\n")
        self.ask(f"chmod +x {_TEST}/{name}")

    def loaded(self, version: str, srcversion: str = "0123", users: int = 0, build_id: str = "") -> None:
        """Show a module as loaded, with a build ID (hexadecimal) if there is one."""
        shown = {"version": version, "srcversion": srcversion, "refcnt": str(users), "initstate": "live"}
        for name, value in shown.items():
            self.write(f"/sys/module/beegfs/{name}", f"{value}\n")
            self.write(f"{_TEST}/{name}", f"{value}\n")
        notes = "/sys/module/beegfs/notes"
        self.say(f"rm -rf {notes}")
        if build_id:
            # A note (elf(5)): lengths of name and content, type 3, the name GNU.
            note = bytes((4, 0, 0, 0, len(build_id) // 2, 0, 0, 0, 3, 0, 0, 0)) + b"GNU\0" + bytes.fromhex(build_id)
            escaped = "".join(f"\\x{byte:02x}" for byte in note)
            self.say(f"mkdir {notes}; printf '{escaped}' >{notes}/.note.gnu.build-id")

    def mounted(self, *points: str) -> None:
        """Show BeeGFS mounted on the host at these places, and other file systems elsewhere."""
        lines = ("proc /proc proc rw 0 0", *(f"beegfs_nodev {point} beegfs rw 0 0" for point in points))
        self.write("/host/proc/1/mounts", "".join(f"{line}\n" for line in lines))

    def loader(self) -> None:
        """Let modprobe and rmmod change the kernel's files, as the real ones do, and note their calls."""
        self.program(
            "modprobe",
            'echo "modprobe $*" >>/test/calls; ko=$2/lib/modules/$4/extra/$5.ko; mkdir -p /sys/module/$5\n'
            "for key in version srcversion; do modinfo -F $key $ko >/sys/module/$5/$key; done\n"
            "echo 0 >/sys/module/$5/refcnt; echo live >/sys/module/$5/initstate",
        )
        self.program("rmmod", 'echo "rmmod $*" >>/test/calls; rm -r /sys/module/$1')

    def hurried(self) -> None:
        """Shorten every sleep of the image's program, and note it in `/test/naps`."""
        self.program("sleep", "echo $1 >>/test/naps; exec /usr/bin/sleep 0.1")

    def changing_mounts(self, point: str) -> None:
        """Remove one more mount at each step of the program's reading; the program needs `BASH_ENV=/test/changing`."""
        self.mounted(*(f"/other/{number:02}" for number in range(40)))
        table = "/host/proc/1/mounts"
        self.say(f"sed -i s/beegfs/otherfs/g {table}; echo 'beegfs_nodev {point} beegfs rw 0 0' >>{table}")
        hook = f'rows=$(tail -n +2 {table}); [ -z "$rows" ] || printf "%s\\n" "$rows" >{table}'
        self.write(
            f"{_TEST}/changing", f"set -T\ntrap '[ \"${{FUNCNAME[0]:-}}\" != host_mounts ] || {{ {hook}; }}' DEBUG\n"
        )

    @property
    def calls(self) -> list[str]:
        """The calls of `loader`'s programs."""
        return self.ask("touch /test/calls; cat /test/calls").splitlines()

    @property
    def installed(self) -> dict[str, str]:
        """Mode and owner by path of every file in the client's folder on the host, but for a test's filler."""
        found = self.ask(f"cd {INSTALLED}; find . -type f ! -name filler -printf '%P %m %U:%G\\n'")
        return dict(line.split(" ", 1) for line in found.splitlines())

    @property
    def termination_message(self) -> str:
        """The termination message that Kubernetes would show."""
        return self.ask("cat /dev/termination-log")


@contextmanager
def cell_node(
    image: str, session: Session, files: Mapping[Path, str] | None = None, tmpfs: Mapping[str, str] | None = None
) -> Iterator[CellNode]:
    """Start a node.

    Args:
        image: the cell's image.
        session: labels the container.
        files: more files of this machine, read-only: path in the container by path here.
        tmpfs: options of places that the container has, such as a size.
    """
    client = docker.from_env()
    places = {**dict.fromkeys(_PLACES, ""), _TEST: "exec", **(tmpfs or {})}
    try:
        container = client.containers.run(
            image,
            ["infinity"],
            entrypoint=["sleep"],
            detach=True,
            init=True,
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            tmpfs=places,
            volumes={str(here): {"bind": there, "mode": "ro"} for here, there in (files or {}).items()},
            labels={LABEL: session.name},
        )
        try:
            node = CellNode(container)
            node.say(": >/dev/termination-log")
            node.mounted()
            yield node
        finally:
            container.remove(force=True)
    finally:
        client.close()


def having_ours(rebuilt: tuple[CellNode, str]) -> CellNode:
    """Return the node with a module for its kernel, not loaded."""
    node, _ = rebuilt
    assert node.client("load", **REBUILDING).status == 0
    node.say("rm -r /sys/module/beegfs /test/calls")
    return node
