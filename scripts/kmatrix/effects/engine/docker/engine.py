"""All parts of Docker together: the implementation of `Engine` that this program uses."""

from __future__ import annotations

from kmatrix.effects.engine.docker.builds import Builds
from kmatrix.effects.engine.docker.containers import Containers
from kmatrix.effects.engine.docker.servers import Servers
from kmatrix.effects.engine.protocol import Engine


class DockerEngine(Builds, Containers, Servers):
    """One Docker engine for one run of this program; safe to share between threads."""


# For the type checker: every method of the interface is there, with its types.
_: type[Engine] = DockerEngine
