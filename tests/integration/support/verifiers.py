"""Programs of other projects that verify signatures, in a container of images/lab-verifiers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import docker
from docker.models.containers import Container

from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.lab.images import ensure_base, ensure_image
from kmatrix.values.engine import RunOutput
from tests.integration.support.lab import Lab
from tests.integration.support.registries import ThrowAwayRegistry
from tests.integration.support.session import LABEL, Session

_HERE = "/work"
# Nothing listens there; programs in Go never use a proxy for this machine's own servers (golang.org/x/net,
# http/httpproxy/proxy.go).
_NO_WAY_OUT = "http://127.0.0.1:9"
# What `cosign trusted-root create` writes: no service is trusted, so none is queried (sigstore/cosign,
# cmd/cosign/cli/verify/verify_attestation.go fetches the public one where a bundle is verified without it).
NO_SERVICES = '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'


@dataclass(frozen=True)
class Verifiers:
    """A running container; `folder` is its working directory, on this machine."""

    container: Container
    folder: Path

    def run(self, script: str, **environment: str) -> RunOutput:
        """Run a script of bash, which ends at its first command that fails."""
        done = self.container.exec_run(
            ["bash", "-euo", "pipefail", "-c", script],
            user=f"{os.getuid()}:{os.getgid()}",
            environment={"HOME": "/tmp", "HTTPS_PROXY": _NO_WAY_OUT, "HTTP_PROXY": _NO_WAY_OUT, **environment},
            workdir=_HERE,
            demux=True,
        )
        stdout, stderr = cast("tuple[bytes | None, bytes | None]", done.output)
        return RunOutput(cast("int", done.exit_code), (stdout or b"").decode(), (stderr or b"").decode())


@contextmanager
def verifiers_for(lab: Lab, session: Session, registry: ThrowAwayRegistry, folder: Path) -> Iterator[Verifiers]:
    """Run the container, which reaches the servers of this machine and nothing else; it is removed at the end.

    Args:
        lab: its base has the package archive.
        session: labels the container.
        registry: is queried without TLS.
        folder: an empty one, the working directory.
    """
    client = docker.from_env()
    try:
        with session.locked("verifiers"), DockerEngine("tests") as engine:
            image = ensure_image(engine, lab.layout, "verifiers", ensure_base(engine, print), print)
        container = client.containers.run(
            image,
            entrypoint=["sleep", "infinity"],
            detach=True,
            init=True,
            network_mode="host",
            volumes={str(folder): {"bind": _HERE, "mode": "rw"}},
            labels={LABEL: session.name},
        )
        try:
            conf = f'[[registry]]\nlocation = "{registry.address}"\ninsecure = true\n'
            code, said = container.exec_run(
                ["sh", "-c", 'printf "%s" "$CONF" >/etc/containers/registries.conf'], environment={"CONF": conf}
            )
            assert code == 0, said
            yield Verifiers(container, folder)
        finally:
            container.remove(force=True)
    finally:
        client.close()
