"""Values that pass between a container engine and its users, whichever engine it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kmatrix.values.redaction import redacted


@dataclass(frozen=True)
class EngineInUse:
    """The engine of a run.

    Attributes:
        name: product, e.g. `Docker`.
        version: as the engine reports it.
        address: the address that this program reached it at, e.g. `unix:///var/run/docker.sock`.
        store: its image store: a graph driver (`overlay2`), or `containerd (SNAPSHOTTER)`.
    """

    name: str
    version: str
    address: str
    store: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} at {redacted(self.address)}, image store {self.store}"

    def as_dict(self) -> dict[str, str]:
        """Return the object that results.json has under `engine`."""
        return {
            "name": self.name,
            "version": self.version,
            "address": redacted(self.address),
            "store": self.store,
        }


@dataclass(frozen=True)
class EngineImage:
    """An image that an engine has.

    Attributes:
        id: opaque; engines give either the configuration's digest or the manifest's.
        names: every NAME:TAG and NAME@DIGEST that it has in the engine.
        labels: of its configuration.
        size: bytes on the engine's disk, layers that it shares with other images included.
    """

    id: str
    names: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    size: int = 0


@dataclass(frozen=True, repr=False)
class RegistryLogin:
    """A credential that the engine sends to a registry; an identity token is preferred to a password. Never printed."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return "RegistryLogin(***)"


@dataclass(frozen=True)
class RunOutput:
    """A finished container: exit status, standard output and standard error."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class FailedStep:
    """A step of a build that ran a program which ended with an exit code of its own.

    Attributes:
        command: the program and its arguments, separated by blanks; empty where the engine does not report it.
        status: the exit code.
        output: the lines that the step's programs wrote, in plain text; none of the builder's own.
    """

    command: str
    status: int
    output: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mount:
    """A folder or file of this machine, or a volume by name, that a container sees at `target`."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True)
class ServerContainer:
    """A container that runs until it is stopped, and is reached at an address of this machine.

    Attributes:
        container: its name, unique in the engine.
        image: a name or id that the engine has.
        command: program and arguments.
        address: HOST:PORT on this machine.
        port: where it listens in the container.
        mounts: parts of this machine that it sees, and its volumes.
        labels: of the container.
    """

    container: str
    image: str
    command: tuple[str, ...]
    address: str
    port: int
    mounts: tuple[Mount, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
