"""The script that copies files out of a toolkit, run by a shell over a small tree."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kmatrix.decide.formats.kernel_tree import kernel_facts
from kmatrix.effects.engine.inspect import TOOLKIT_SCRIPT
from kmatrix.values.errors import ProtocolError
from kmatrix.values.module import RDMA_MODULES, ToolkitFiles
from tests.unit.support.check_case import IN_TREE, KERNEL, TOOLKIT, TREE

_IB_CORE = "kernel/drivers/infiniband/core/ib_core.ko.xz"


class Toolkit:
    """A tree in a toolkit's layout, and a `modinfo` that knows these modules."""

    def __init__(self, root: Path) -> None:
        self.tree = root / "lib/modules" / KERNEL
        self.facts = root / "facts"
        self.programs = root / "bin"
        source = root / "usr/src/kernels" / KERNEL
        for folder in (self.tree, self.programs, source):
            folder.mkdir(parents=True)
        (source / "Module.symvers").write_text(TOOLKIT.symvers)
        (self.tree / "config").write_text(TOOLKIT.config)
        self.root = root
        self.knows({})

    def knows(self, modules: dict[str, str]) -> None:
        """Let `modinfo -n` name these files, relative to the tree, or fail as for a module that it does not find."""
        cases = "".join(f"{name}) echo '{self.tree}/{path}' ;;\n" for name, path in modules.items())
        script = self.programs / "modinfo"
        script.write_text(f'#!/bin/sh\ncase "$4" in\n{cases}*) echo "modinfo: ERROR" >&2; exit 1 ;;\nesac\n')
        script.chmod(0o755)

    def add(self, *paths: str) -> None:
        """Put modules into the tree."""
        for path in paths:
            (self.tree / path).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / path).write_bytes(IN_TREE.build())

    def read(self) -> set[str]:
        """Run the script; return the names of the modules that it copied for reference."""
        script = TOOLKIT_SCRIPT
        for place, here in (
            ("/kmatrix-facts", self.facts),
            ("/lib/modules", self.root / "lib/modules"),
            ("/usr/src", self.root / "usr/src"),
        ):
            script = script.replace(place, str(here))
        environment = {"PATH": f"{self.programs}:{os.environ['PATH']}"}
        command = ["sh", "-c", script, "toolkit-facts", KERNEL, *RDMA_MODULES]
        subprocess.run(command, env=environment, check=True, timeout=60)
        return {file.name for file in (self.facts / "in-tree").iterdir()}


@pytest.fixture
def toolkit(tmp_path: Path) -> Toolkit:
    return Toolkit(tmp_path)


def test_the_rdma_modules_are_the_reference_where_there_are_some(toolkit: Toolkit) -> None:
    toolkit.add(*TREE)
    toolkit.knows({"ib_core": _IB_CORE})
    assert toolkit.read() == {"ib_core.ko.xz"}


@pytest.mark.parametrize("builtin", [True, False])
def test_without_rdma_modules_another_one_is_the_reference(toolkit: Toolkit, builtin: bool) -> None:
    toolkit.add("updates/foreign.ko", "extra/a.ko", "kernel/fs/xfs/xfs.ko.xz", "kernel/fs/ext4/ext4.ko.zst")
    # kmod names no file for built-in modules.
    (toolkit.programs / "modinfo").write_text("#!/bin/sh\necho '(builtin)'\n" if builtin else "#!/bin/sh\nexit 1\n")
    assert toolkit.read() == {"ext4.ko.zst"}


def test_a_kernel_without_any_module_is_named(toolkit: Toolkit) -> None:
    assert toolkit.read() == set()
    files = ToolkitFiles(TOOLKIT.symvers, TOOLKIT.config, "", "", {}, frozenset())
    with pytest.raises(ProtocolError, match=rf"the in-tree modules of {KERNEL}.*none was read") as caught:
        kernel_facts(KERNEL, files)
    assert caught.value.hint


def test_a_modinfo_that_is_killed_is_not_taken_for_a_module_that_is_not_there(toolkit: Toolkit) -> None:
    toolkit.add(*TREE)
    (toolkit.programs / "modinfo").write_text("#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(subprocess.CalledProcessError):
        toolkit.read()
