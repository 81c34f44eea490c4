"""The builds of deploy/build-in-cluster: modules with two toolkits, and the image that copies all of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from kmatrix.decide.boot import Booted
from kmatrix.decide.formats.elf import read_module
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.errors import StepFailedError
from kmatrix.effects.vm.qemu import Machines
from kmatrix.stages.boot import boot_image
from kmatrix.stages.subject import Subject
from kmatrix.values.engine import Mount
from tests.integration.support.cluster.build_configs import Applied, applied_by_the_script, built_config, output_of
from tests.integration.support.cluster.openshift import read, rendered_text, run_in, small_copy
from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, SiteMaker
from tests.integration.support.session import Session
from tests.unit.support.build_cluster import NEW, OLD, RHCOS, toolkits
from tests.unit.support.fake_cluster import node

_COMPILING = re.compile(r"rebuild-module: compiling client \S+ for ([\w.+-]+)")
# The toolkits of the lab by their tags in the cluster: a pool that is behind, and nodes that run the newest release.
LAB = {OLD: "newer", NEW: "next-line", "latest": "next-line"}


@dataclass(frozen=True)
class Made:
    """The image that nodes run, the images of modules by their toolkits, and the output of each build."""

    image: str
    modules: Mapping[str, str]
    logs: Mapping[str, list[str]]


@pytest.fixture(scope="module")
def text(lab: Lab, module_sites: SiteMaker) -> str:
    """The rendered folder, as `kubectl kustomize` writes it."""
    site = module_sites(clients=[NEWER_CLIENT], kernels=[lab.kernels.next_line], warm=False)
    return rendered_text(site, NEWER_CLIENT)


@pytest.fixture(scope="module")
def applied(text: str, tmp_path_factory: pytest.TempPathFactory) -> Applied:
    """The objects that deploy/build-in-cluster applies to a cluster with two OS versions."""
    nodes = [node("paused", f"{RHCOS}{OLD}"), node("n1", f"{RHCOS}{NEW} (Plow)")]
    stream = toolkits(**{"latest": "b", NEW: "b", OLD: "a"})
    return applied_by_the_script(text, tmp_path_factory.mktemp("cluster"), nodes, stream)


@pytest.fixture(scope="module")
def made(engine: Engine, lab: Lab, session: Session, text: str, applied: Applied) -> Iterator[Made]:
    """The images of these BuildConfigs, built."""
    files = read(text).files
    known = {f"driver-toolkit:{tag}": lab.toolkits[name] for tag, name in LAB.items()}
    modules: dict[str, str] = {}
    logs: dict[str, list[str]] = {}
    with ExitStack() as stack:
        try:
            for tag, config in applied.modules.items():
                log = logs.setdefault(tag, [])
                modules[tag] = stack.enter_context(built_config(engine, session, config, files, known, log))
                known[output_of(config)] = modules[tag]
            # The same image by another name.
            latest = output_of(applied.modules["latest"])
            known.update(dict.fromkeys(applied.tagged, known[latest]))
            log = logs.setdefault("image", [])
            image = stack.enter_context(built_config(engine, session, applied.image, files, known, log))
        except StepFailedError as error:
            pytest.fail(f"{error}\n" + "\n".join(log[-40:]))
        yield Made(image, modules, logs)


def kernels_of(lab: Lab, tag: str) -> list[str]:
    """Return the kernels of a toolkit: one has a real-time kernel too."""
    return {OLD: [lab.kernels.newer, lab.kernels.real_time], "latest": [lab.kernels.next_line]}[tag]


def test_each_toolkit_compiles_once_and_the_image_takes_the_modules_of_all_their_names(
    lab: Lab, applied: Applied, made: Made
) -> None:
    assert set(applied.modules) == {OLD, "latest"}
    (twin,) = applied.tagged
    assert twin.endswith(f"-{NEW}")
    assert len(applied.image["spec"]["source"]["images"]) == 3
    for tag in applied.modules:
        compiled = [match[1] for line in made.logs[tag] if (match := _COMPILING.search(line))]
        assert sorted(compiled) == sorted(kernels_of(lab, tag))
    assert not any("compiling client" in line for line in made.logs["image"])


@pytest.mark.parametrize("tag", [OLD, "latest"])
def test_an_image_of_modules_has_these_and_nothing_else(engine: Engine, lab: Lab, made: Made, tag: str) -> None:
    with engine.container(made.modules[tag]) as container:
        files = {member.name for member, _ in engine.root_files(container) if member.isfile() or member.issym()}
    # The container engine puts some files of its own into a container.
    ours = {name for name in files if not name.startswith(("etc/", "dev/", ".dockerenv"))}
    roots = {f"opt/lib/modules/{kernel}" for kernel in kernels_of(lab, tag)}
    assert {"/".join(name.split("/")[:4]) for name in ours} == roots
    assert {f"{root}/{name}" for root in roots for name in ("extra/beegfs.ko", "host", "modules.dep")} <= ours


def test_the_image_has_every_kernel_of_all_toolkits_with_its_link_to_the_nodes_modules(
    engine: Engine, lab: Lab, made: Made
) -> None:
    script = 'cd /opt/lib/modules && for kernel in *; do echo "$kernel $(readlink "$kernel/host")"; done'
    done = run_in(engine, made.image, script)
    kernels = [kernel for tag in (OLD, "latest") for kernel in kernels_of(lab, tag)]
    assert sorted(done.stdout.splitlines()) == sorted(f"{kernel} /lib/modules/{kernel}" for kernel in kernels)


@pytest.mark.parametrize("tag", [OLD, "latest"])
def test_the_modules_find_what_they_need_in_the_tree_of_their_node(
    engine: Engine, lab: Lab, made: Made, tag: str, tmp_path: Path
) -> None:
    """A container of the toolkit stands for the node: its /lib/modules is that of these kernels alone."""
    with engine.container(made.image) as container:
        modules = engine.take_archive(container, "/opt/lib/modules")
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=modules, check=True)
    mounts = [Mount(str(tmp_path / "modules"), "/opt/lib/modules")]
    for kernel in kernels_of(lab, tag):
        script = f"modprobe -d /opt -S {kernel} --show-depends beegfs"
        done = run_in(engine, lab.toolkits[LAB[tag]], script, mounts=mounts)
        assert done.status == 0, done.stderr
        loaded = [line.split()[1] for line in done.stdout.splitlines()]
        assert loaded[-1] == f"/opt/lib/modules/{kernel}/extra/beegfs.ko"
        needed = {path.rpartition("/")[2].partition(".")[0] for path in loaded[:-1]}
        assert {"ib_core", "rdma_cm"} <= needed
        assert all(path.startswith(f"/opt/lib/modules/{kernel}/host/") for path in loaded[:-1])


@pytest.mark.parametrize("tag", [OLD, "latest"])
def test_the_image_loads_in_the_kernel_of_each_toolkit(
    engine: Engine, lab: Lab, session: Session, made: Made, tag: str, tmp_path: Path
) -> None:
    kernel = kernels_of(lab, tag)[0]
    machines = Machines("tcg")
    lines: list[str] = []
    with small_copy(engine, session, made.image) as small:
        with engine.container(small) as container:
            ko = engine.read_file(container, f"/opt/lib/modules/{kernel}/extra/beegfs.ko")
        module = read_module(ko or b"")
        booted = Booted(kernel, module.first("version") or "", module.first("srcversion") or "")
        subject = Subject("in-cluster", small, lab.toolkits[LAB[tag]], "x86_64", booted, module.depends)
        report = boot_image(engine, machines, subject, tmp_path, 120.0, lines.append)
    assert (report.verdict, report.code) == ("passed", "booted"), "\n".join([report.message, *lines[-40:]])
    assert booted.version == NEWER_CLIENT


def test_a_rhel_worker_can_still_compile_with_the_image(engine: Engine, lab: Lab, made: Made) -> None:
    """Sources, compiler and settings are in it, though its own build compiled nothing."""
    kernel = lab.kernels.next_line
    script = (
        f"rm -rf /opt/lib/modules && MAKE_JOBS=2 rebuild-module {kernel} && modinfo -F depends "
        f"/opt/lib/modules/{kernel}/extra/beegfs.ko"
    )
    done = run_in(engine, made.image, script)
    assert done.status == 0, done.stderr
    root, depends = done.stdout.splitlines()
    assert root == "/opt"
    assert {"ib_core", "rdma_cm"} <= set(depends.replace("-", "_").split(","))
