"""A build in the cluster trusts the cluster's CAs: its packages come through TLS of a CA unknown to the toolkit."""

from __future__ import annotations

import base64
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kmatrix.effects.engine import Engine
from kmatrix.values.engine import Mount, RunOutput
from kmatrix.values.recipe import userland_by_major
from tests.integration.support.cluster.openshift import InCluster, derived, rendered, run_in
from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, SiteMaker
from tests.integration.support.session import LABEL, Session

# Two CAs, and a server's certificate of the first.
_CERTIFICATES = """
set -e
cd "$(mktemp -d)"
for name in ca other; do
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$name of a test" -keyout $name.key -out $name.pem
done
openssl req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out request
echo subjectAltName=IP:127.0.0.1 >extensions
openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.pem
for file in ca.pem other.pem server.key server.pem; do echo "== $file"; cat $file; done
"""
# In Red Hat's images /etc/pki/tls/certs/ca-bundle.crt leads to this file. Debian's libraries read /etc/ssl/certs.
_BUNDLE = "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"
_LAYOUT = """\
FROM {toolkit}
RUN mkdir -p {folder} /etc/ssl/certs && echo {own} | base64 -d >{bundle}
RUN ln -sfn {bundle} /etc/ssl/certs/ca-certificates.crt
LABEL {label}={session}
"""


@pytest.fixture(scope="module")
def manifests(lab: Lab, module_sites: SiteMaker) -> InCluster:
    """The rendered manifests of the newer client."""
    return rendered(module_sites(clients=[NEWER_CLIENT], kernels=[lab.kernels.next_line], warm=False), NEWER_CLIENT)


@pytest.fixture(scope="module")
def certificates(engine: Engine, lab: Lab) -> dict[str, str]:
    """PEM by file."""
    done = run_in(engine, lab.toolkits["next-line"], _CERTIFICATES)
    assert done.status == 0, done.stderr
    return dict(re.findall(r"^== (\S+)\n(.*?)(?=^== |\Z)", done.stdout, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def toolkit(engine: Engine, lab: Lab, session: Session, certificates: dict[str, str]) -> Iterator[str]:
    """A toolkit whose programs trust the file that Red Hat's trust, with another CA in it."""
    own = base64.b64encode(certificates["other.pem"].encode()).decode()
    dockerfile = _LAYOUT.format(
        toolkit=lab.toolkits["next-line"],
        folder=_BUNDLE.rpartition("/")[0],
        bundle=_BUNDLE,
        own=own,
        label=LABEL,
        session=session.name,
    )
    with derived(engine, session, dockerfile) as made:
        yield made


@pytest.fixture(scope="module")
def packages(lab: Lab, certificates: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The lab's package root behind TLS; its address."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server.pem", "server.key"):
        (folder / name).write_text(certificates[name], encoding="utf-8")
    with tls_server(lab.layout.www, folder) as address:
        yield f"{address}/release"


@contextmanager
def tls_server(root: Path, folder: Path) -> Iterator[str]:
    """Serve a folder over TLS; `folder` has server.pem and server.key."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(root))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: a test's output is its own."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def fetched(
    engine: Engine, toolkit: str, manifests: InCluster, packages: str, folder: Path, trust: Path | None
) -> RunOutput:
    """Run fetch-packages as the build does, in a container: the engine's builds cannot bind a folder.

    Args:
        engine: runs it.
        toolkit: the build's base image.
        manifests: has the program.
        packages: the package root.
        folder: for the program.
        trust: the builder's /etc/pki/ca-trust, if it is mounted.
    """
    folder.mkdir()
    (folder / "fetch-packages").write_text(manifests.files["fetch-packages"], encoding="utf-8")
    names = " ".join(f"{major}={','.join(names)}" for major, names in userland_by_major())
    assert f" /kmatrix/packages {names} " in manifests.dockerfile
    script = f"python3 /kmatrix/fetch-packages {packages} {NEWER_CLIENT} /packages {names} && ls /packages"
    mounts = [Mount(str(folder), "/kmatrix")]
    if trust:
        mounts.append(Mount(str(trust), "/etc/pki/ca-trust"))
    return run_in(engine, toolkit, script, network="host", mounts=mounts)


def test_packages_come_through_tls_that_the_cluster_trusts_and_not_without_its_trust(
    engine: Engine,
    toolkit: str,
    manifests: InCluster,
    certificates: dict[str, str],
    packages: str,
    tmp_path: Path,
) -> None:
    """With `mountTrustedCA` the builder binds its /etc/pki/ca-trust read-only there, and nothing else.

    pkg/build/builder/daemonless.go of openshift/builder, appendCATrustMount, which asks BUILD_MOUNT_ETC_PKI_CATRUST;
    pkg/build/controller/strategy/util.go of openshift/openshift-controller-manager, addTrustedCAMountEnvVar, sets it
    from the field. The builder's imagecontent/bin/entrypoint.sh has added the cluster's CAs to its own trust before.
    """
    assert manifests.config["spec"]["mountTrustedCA"] is True
    without = fetched(engine, toolkit, manifests, packages, tmp_path / "without", None)
    assert without.status == 1, without.stdout
    assert f"error: repository-unreadable: cannot fetch client {NEWER_CLIENT} from {packages}/" in without.stderr
    trust = tmp_path / "ca-trust"
    bundle = trust / _BUNDLE.removeprefix("/etc/pki/ca-trust/")
    bundle.parent.mkdir(parents=True)
    bundle.write_text(certificates["other.pem"] + certificates["ca.pem"], encoding="utf-8")
    done = fetched(engine, toolkit, manifests, packages, tmp_path / "with", trust)
    assert done.status == 0, done.stderr
    assert f"beegfs-client-{NEWER_CLIENT}" in done.stdout
