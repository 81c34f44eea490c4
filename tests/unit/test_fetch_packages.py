"""`discover` pins, and fetch-packages with real dnf downloads, the same package of the same repository."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from kmatrix.decide.formats.repodata import newest_of_each
from kmatrix.effects.net.package_root import PackageRoot
from kmatrix.values.names import Arch
from tests.unit.support.http_server import Reply, web_server
from tests.unit.support.programs import lack

SCRIPT = Path(__file__).parents[2] / "images" / "beegfs-client" / "fetch-packages"
DIRECTORY = "beegfs_8.98"
NAME = "beegfs-client"


def python_with_dnf() -> str | None:
    """A Python that has dnf's module; RHEL 8 calls it platform-python."""
    for name in ("platform-python", "/usr/libexec/platform-python", "/usr/bin/python3"):
        program = shutil.which(name)
        if program and subprocess.run([program, "-c", "import dnf"], capture_output=True, check=False).returncode == 0:
            return program
    return None


def run_fetch(python: str, folder: Path, address: str, machine: Arch) -> subprocess.CompletedProcess[str]:
    """Run the script's fetch with real dnf, as on a machine; the downloaded packages are in `out`."""
    (folder / "out").mkdir()
    program = (
        "import sys, types\n"
        "module = types.ModuleType('fetching')\n"
        "exec(compile(open(sys.argv[1]).read(), sys.argv[1], 'exec'), module.__dict__)\n"
        "module.os.uname = lambda: types.SimpleNamespace(machine=sys.argv[5])\n"
        "try:\n"
        "    print(*module.fetch(sys.argv[2], '8.98.1', '9', [sys.argv[3]], sys.argv[4]))\n"
        "except module.Refused as error:\n"
        "    sys.exit(str(error))\n"
    )
    return subprocess.run(
        [python, "-c", program, str(SCRIPT), address, NAME, str(folder / "out"), machine],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def python() -> str:
    return python_with_dnf() or lack("Python with dnf")


def make_repository(root: Path, packages: list[tuple[str, str, str, str]]) -> Path:
    """Make a repository of files that are no packages, which dnf does not notice as it only brings them."""
    repository = root / DIRECTORY / "dists/rhel9"
    (repository / "repodata").mkdir(parents=True)
    entries = ""
    for number, (epoch, version, release, arch) in enumerate(packages):
        content = f"package {number}".encode()
        (repository / f"{number}.rpm").write_bytes(content)
        entries += (
            f'<package type="rpm"><name>{NAME}</name><arch>{arch}</arch>'
            f'<version {epoch} ver="{version}" rel="{release}"/>'
            f'<checksum type="sha256" pkgid="YES">{hashlib.sha256(content).hexdigest()}</checksum>'
            f'<summary/><description/><packager/><url/><time file="1" build="1"/>'
            f'<size package="{len(content)}" installed="1" archive="1"/><location href="{number}.rpm"/></package>'
        )
    primary = (
        '<?xml version="1.0" encoding="UTF-8"?><metadata xmlns="http://linux.duke.edu/metadata/common"'
        f' xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{len(packages)}">{entries}</metadata>'
    ).encode()
    (repository / "repodata/primary.xml").write_bytes(primary)
    (repository / "repodata/repomd.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?><repomd xmlns="http://linux.duke.edu/metadata/repo">'
        f'<revision>1</revision><data type="primary"><checksum type="sha256">{hashlib.sha256(primary).hexdigest()}'
        f'</checksum><location href="repodata/primary.xml"/><timestamp>1</timestamp><size>{len(primary)}</size></data>'
        "</repomd>",
        encoding="utf-8",
    )
    return repository


@pytest.mark.parametrize(
    ("machine", "packages", "number"),
    [
        ("x86_64", [('epoch="20"', "8.98.1", "9.el9", "noarch"), ('epoch="20"', "8.98.1", "10.el9", "noarch")], 1),
        ("x86_64", [('epoch="21"', "8.98.1", "el9", "noarch"), ('epoch="3"', "8.98.1", "el9", "noarch")], 0),
        ("x86_64", [('epoch="21"', "8.98.1", "1", "noarch"), ('epoch="3"', "8.98.1", "2", "noarch")], 0),
        ("x86_64", [("", "8.98.1", "1.el9", "noarch"), ('epoch="0"', "8.98.1", "2.el9", "noarch")], 1),
        ("x86_64", [('epoch="1"', "8.98.1", "1", "noarch"), ("", "8.98.1", "2", "noarch")], 0),
        ("x86_64", [('epoch="20"', "8.98.1", "1~rc1", "noarch"), ('epoch="20"', "8.98.1", "1", "noarch")], 1),
        ("x86_64", [('epoch="20"', "8.98.1", "1^git2", "noarch"), ('epoch="20"', "8.98.1", "1", "noarch")], 0),
        ("x86_64", [('epoch="20"', "8.98.1", "1", "x86_64"), ('epoch="20"', "8.98.1", "1", "noarch")], 0),
        ("x86_64", [('epoch="20"', "8.98.1", "1", "noarch"), ('epoch="20"', "8.98.1", "1", "x86_64")], 1),
        ("x86_64", [('epoch="20"', "8.98.1", "01", "noarch"), ('epoch="20"', "8.98.1", "1", "noarch")], 0),
        ("x86_64", [('epoch="20"', "8.98.2", "1", "noarch"), ('epoch="20"', "8.98.1", "1", "noarch")], 1),
        # As text, aarch64 comes before noarch: the machine's own package is not the chosen one.
        ("aarch64", [('epoch="20"', "8.98.1", "1", "aarch64"), ('epoch="20"', "8.98.1", "1", "noarch")], 1),
        ("aarch64", [('epoch="20"', "8.98.1", "1", "noarch"), ('epoch="20"', "8.98.1", "1", "aarch64")], 0),
        ("aarch64", [('epoch="20"', "8.98.1", "1", "aarch64"), ('epoch="20"', "8.98.1", "1", "x86_64")], 0),
    ],
)
def test_the_lock_and_a_build_in_a_cluster_take_the_same_package(
    tmp_path: Path, python: str, machine: Arch, packages: list[tuple[str, str, str, str]], number: int
) -> None:
    """Hawkey compares name, EVR and arch (rpm-software-management/libdnf, libdnf/hy-package.cpp, dnf_package_cmp)."""
    repository = make_repository(tmp_path, packages)
    found = PackageRoot(str(tmp_path), tmp_path).packages(DIRECTORY, "el9", machine, [NAME]) or ()
    ours = newest_of_each(package for package in found if package.version == "8.98.1")[NAME]
    done = run_fetch(python, tmp_path, repository.as_uri() + "/", machine)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == f"{Path(ours.location).name}={ours.nevra}"
    assert ours.location == f"dists/rhel9/{number}.rpm"
    assert (tmp_path / "out" / f"{number}.rpm").read_bytes() == f"package {number}".encode()


@pytest.mark.parametrize("status", [404, 401, 500])
def test_dnfs_own_words_name_no_password(tmp_path: Path, python: str, status: int) -> None:
    """Librepo names the whole address of a failed download (rpm-software-management/librepo, librepo/downloader.c).

    dnf writes that to a logger, which prints it where nobody else takes it.
    """
    with web_server(lambda _: Reply(status)) as web:
        address = web.url.replace("://", "://user:SECRET@") + "/dists/rhel9/"
        done = run_fetch(python, tmp_path, address, "x86_64")
    assert done.returncode == 1
    assert "SECRET" not in done.stdout + done.stderr
    assert "repository-unreadable: cannot fetch client 8.98.1 from http://127.0.0.1:" in done.stderr
    assert f"Status code: {status} for http://127.0.0.1:" in done.stderr
