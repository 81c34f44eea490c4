"""A first run: its verdicts, its results, and images that are right on a node."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

import docker
import pytest

from tests.integration.support.lab import Lab
from tests.integration.support.project.images import contents, output_in
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT, Run, Site, SiteMaker


@pytest.fixture(scope="module")
def site(lab: Lab, module_sites: SiteMaker) -> Site:
    """A project with every kernel of the newer client and one of the older."""
    module_sites(clients=[OLDER_CLIENT], kernels=[lab.kernels.newer])
    made: Site = module_sites(clients=[NEWER_CLIENT])
    made.change_profile(clients=[OLDER_CLIENT, NEWER_CLIENT])
    assert made.run("discover").code == 0
    return made


@pytest.fixture(scope="module")
def built(site: Site, lab: Lab) -> Run:
    """Its first run."""
    return site.run("build", "--only", f"{NEWER_CLIENT}-*", "--only", f"{OLDER_CLIENT}-{lab.kernels.newer}")


@pytest.fixture(scope="module")
def pulled(site: Site, built: Run) -> Iterator[dict[str, str]]:
    """The published images by cell, pulled by the digests that results.json names and by nothing else."""
    client = docker.from_env()
    names = {}
    for cell in built.results["cells"]:
        names[cell["cell"]] = f"{site.target}/beegfs-client@{cell['digest']}"
        assert not client.images.list(name=f"{site.target}/beegfs-client:{cell['cell']}"), "the engine has it already"
        client.images.pull(names[cell["cell"]])
    yield names
    for name in names.values():
        client.images.remove(name)
    client.close()


def test_every_cell_passes_and_its_tag_is_in_the_registry(site: Site, built: Run, lab: Lab) -> None:
    cells = {f"{NEWER_CLIENT}-{kernel}" for kernel in lab.kernels.as_dict().values()}
    cells.add(f"{OLDER_CLIENT}-{lab.kernels.newer}")
    assert built.code == 0, built.stderr
    assert built.verdicts == dict.fromkeys(cells, "passed")
    assert site.tags == {site.tag_of(cell) for cell in cells}


def test_results_say_what_was_published_for_whom(site: Site, built: Run, lab: Lab) -> None:
    assert (built.results["schema"], built.results["profile"]) == (4, "site")
    for cell in built.results["cells"]:
        tag = site.tag_of(cell["cell"])
        assert cell["image"] == f"{site.target}/beegfs-client:{tag}"
        assert cell["digest"] == site.registry.digest(site.repository, tag)
        assert cell["srcversion"]
        assert set(cell["stages"]) == {"prepare", "build", "static", "push"}
        assert "kmatrix: passed: every check passed" in (site.root / cell["log"]).read_text(encoding="utf-8")
    # These releases of the lab run one kernel out of two toolkits.
    assert built.cell(f"{NEWER_CLIENT}-{lab.kernels.newer}")["releases"] == ["4.96.1", "4.96.2", "4.97.0"]
    assert built.cell(f"{NEWER_CLIENT}-{lab.kernels.older}")["releases"] == ["4.96.0"]


def test_results_are_there_as_junit(site: Site, built: Run) -> None:
    suite = ElementTree.parse(site.root / "build" / "results.xml").getroot()
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "5", "failures": "0", "errors": "0", "skipped": "0"}
    assert {case.get("name") for case in suite} == set(built.verdicts)


def test_a_pulled_image_has_the_module_of_its_own_kernel(built: Run, pulled: dict[str, str], lab: Lab) -> None:
    for cell in built.results["cells"]:
        kernel = cell["kernel"]
        vermagic = output_in(pulled[cell["cell"]], "modinfo", "-b", "/opt", "-k", kernel, "-F", "vermagic", "beegfs")
        version = output_in(pulled[cell["cell"]], "modinfo", "-b", "/opt", "-k", kernel, "-F", "version", "beegfs")
        assert vermagic.split()[0] == kernel
        assert ("preempt_rt" in vermagic.split()) == (kernel == lab.kernels.real_time)
        assert version.strip() == cell["client"]


def in_tree_dependencies(toolkit: str, kernel: str) -> set[str]:
    """Return the modules that a node of this kernel loads for RDMA, below /lib/modules/KERNEL, by its own modprobe."""
    said = output_in(toolkit, "modprobe", "-S", kernel, "--show-depends", "-a", "ib_core", "rdma_cm")
    prefix = f"insmod /lib/modules/{kernel}/"
    return {line.removeprefix(prefix).strip() for line in said.splitlines() if line.startswith(prefix)}


def test_kernel_module_management_can_use_the_image(built: Run, pulled: dict[str, str], site: Site) -> None:
    pins = reversed(site.pins.releases)
    toolkits = {kernel.release: release.toolkit.pinned for release in pins for kernel in release.kernels}
    for cell in built.results["cells"]:
        image, kernel = pulled[cell["cell"]], cell["kernel"]
        tree = f"/opt/lib/modules/{kernel}"
        assert output_in(image, "readlink", f"{tree}/host").strip() == f"/lib/modules/{kernel}"
        dependencies = dict(line.split(":") for line in output_in(image, "cat", f"{tree}/modules.dep").splitlines())
        in_tree = in_tree_dependencies(toolkits[kernel], kernel)
        assert any("/ib_core.ko" in path for path in in_tree)
        assert set(dependencies["extra/beegfs.ko"].split()) == {f"host/{path}" for path in in_tree}
        copied = output_in(image, "sh", "-c", f"cp -R {tree} /tmp/ && ls /tmp/{kernel}/extra")
        assert copied.split() == ["beegfs.features", "beegfs.ko"]


def test_the_image_holds_the_client_and_nothing_of_how_it_was_made(pulled: dict[str, str]) -> None:
    for cell, image in pulled.items():
        files = contents(image)
        tools = {
            OLDER_CLIENT: {"opt/beegfs/sbin/beegfs-ctl", "opt/beegfs/sbin/beegfs-helperd"},
            NEWER_CLIENT: {"opt/beegfs/sbin/beegfs", "usr/sbin/mount.beegfs"},
        }[cell.partition("-")[0]]
        assert files >= tools | {"etc/beegfs/beegfs-client.conf"}
        programs = {path.rpartition("/")[2] for path in files if "/bin/" in path or "/sbin/" in path}
        assert not programs & {"gcc", "gcc-12", "cc", "ld", "as", "make", "rpmbuild", "dnf", "microdnf", "apt-get"}
        unwanted = (
            "kmatrix", "source", "module", "opt/beegfs/src", "usr/src", "var/cache/dnf", "var/cache/apt", "var/lib/apt",
            "var/lib/rpm", "var/lib/kmatrix-rpmdb", "root/.gnupg", "root/.docker", "run/secrets", "lib/modules",
            "var/lib/beegfs/client/force-auto-build",
        )  # fmt: skip
        assert not [path for path in files for root in unwanted if path == root or path.startswith(f"{root}/")]


def test_a_second_run_skips_everything_and_neither_builds_nor_pulls(site: Site, built: Run, lab: Lab) -> None:
    again = site.run("build", "--only", f"{NEWER_CLIENT}-*", "--only", f"{OLDER_CLIENT}-{lab.kernels.newer}")
    assert again.code == 0
    assert set(again.verdicts.values()) == {"skipped"}
    assert (again.builds, again.pulls) == (0, 0)
    for cell in built.results["cells"]:
        kept = again.cell(cell["cell"])
        assert {key: kept[key] for key in ("digest", "srcversion", "log")} == {
            key: cell[key] for key in ("digest", "srcversion", "log")
        }


def test_the_layers_below_the_module_are_the_same_for_all_kernels_of_a_client(site: Site, built: Run, lab: Lab) -> None:
    layers = {
        cell: [layer["digest"] for layer in site.registry.manifest(site.repository, site.tag_of(cell))["layers"]]
        for cell in built.verdicts
    }
    other = layers.pop(f"{OLDER_CLIENT}-{lab.kernels.newer}")
    assert len(layers) == 4
    assert len({tuple(below) for *below, _ in layers.values()}) == 1
    assert len({last for *_, last in layers.values()}) == 4
    *_, userland, entry_point, module = other
    same = {digest for digests in layers.values() for digest in digests}
    assert same.isdisjoint({userland, module})
    assert entry_point in same, "it is no client's own"


def test_a_node_whose_kernel_changed_pulls_the_module_only(site: Site, built: Run) -> None:
    for cell in built.verdicts:
        assert site.registry.manifest(site.repository, site.tag_of(cell))["layers"][-1]["size"] < 2_000_000
