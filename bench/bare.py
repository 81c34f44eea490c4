"""The baseline: the same modules, built by bare `make` in containers of the same toolkits, as many at a time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.setting import Setting
from bench.site import Site
from kmatrix.lab.state import lab_state
from kmatrix.values.engine import Mount
from kmatrix.values.errors import ToolError
from kmatrix.values.recipe import Recipe

_LONGEST_COMPILE_SECONDS = 3600
_SOURCES = "/opt/beegfs"
_UNPACK = "mkdir -p /unpacked && cd /unpacked && rpm2cpio /package.rpm | cpio -idm --quiet"
# The same commands as in images/beegfs-client/build-module; a test compares the two.
COMPILE = """
source=/opt/beegfs/src/client/client_module_$major/build
arguments=("KRELEASE=$kernel")
[ "$rdma" = yes ] || arguments+=(BEEGFS_NO_RDMA=1)
unset KERNELRELEASE
export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' KBUILD_BUILD_USER=kmatrix KBUILD_BUILD_HOST=kmatrix
make -C "$source" -j"${MAKE_JOBS:-1}" module "${arguments[@]}"
"""
_SCRIPT = f"set -euo pipefail; kernel=$1 major=$2 rdma=$3 MAKE_JOBS=$4\n{COMPILE}"
# Otherwise the side that compiles first would pay for reading the toolkit from disk.
_READ = "find /usr/src /usr/lib/gcc /usr/include /usr/bin -type f -exec cat {} + >/dev/null"


@dataclass(frozen=True)
class Bare:
    """Wall seconds from the first start to the last end; each cell's seconds, and its module's SHA-256."""

    seconds: float
    cells: dict[str, float]
    modules: dict[str, str]


def warm_toolkits(setting: Setting, site: Site) -> None:
    """Read the toolkits into the page cache, so that neither side of the comparison pays for the disk."""
    for toolkit in sorted({recipe.toolkit.pinned for recipe in site.recipes}):
        _finished(setting, toolkit, ["sh", "-c", _READ], "read")


def bare_make(setting: Setting, site: Site, make_jobs: int) -> Bare:
    """Compile every cell, `setting.jobs` at a time; containers and sources are prepared before the measurement.

    Raises:
        ToolError: a compile failed.
        UnreachableError: the container engine stopped.
    """
    engine, seconds = setting.engine, {}
    with ExitStack() as stack:
        containers = {
            recipe.cell.id: stack.enter_context(_ready(setting, site, recipe, make_jobs)) for recipe in site.recipes
        }

        def compile_cell(cell: str) -> tuple[float, float]:
            start = time.monotonic()
            done = engine.run(containers[cell], timeout_seconds=_LONGEST_COMPILE_SECONDS)
            end = time.monotonic()
            if done.status != 0:
                raise ToolError(
                    f"bare make of {cell} failed with {done.status}: {done.stderr.strip()[-500:]}",
                    f"Run `nox -s build -- --force --only {cell}`: the bench measures cells that pass.",
                )
            return start, end

        with ThreadPoolExecutor(setting.jobs) as pool:
            try:
                times = list(pool.map(compile_cell, containers))
            except BaseException:
                engine.stop()
                raise
        seconds = {cell: round(end - start, 3) for cell, (start, end) in zip(containers, times, strict=True)}
        modules = {
            recipe.cell.id: _digest(setting, containers[recipe.cell.id], _built(recipe)) for recipe in site.recipes
        }
    return Bare(max(end for _, end in times) - min(start for start, _ in times), seconds, modules)


def module_of_image(setting: Setting, image: str, recipe: Recipe) -> str:
    """Return the SHA-256 of the module in a published image, empty if there is none; the pulled image is removed."""
    engine = setting.engine
    engine.pull(image, None)
    try:
        with engine.container(image) as container:
            return _digest(setting, container, f"/opt/lib/modules/{recipe.cell.kernel}/extra/beegfs.ko")
    finally:
        engine.remove_image(image)


def _built(recipe: Recipe) -> str:
    return f"/opt/beegfs/src/client/client_module_{recipe.cell.client.major}/build/beegfs.ko"


def _digest(setting: Setting, container: str, path: str) -> str:
    content = setting.engine.read_file(container, path)
    return "" if content is None else hashlib.sha256(content).hexdigest()


@contextmanager
def _ready(setting: Setting, site: Site, recipe: Recipe, make_jobs: int) -> Iterator[str]:
    cell = recipe.cell
    rdma = "yes" if setting.chosen.effective.rdma else "no"
    command = ["bash", "-c", _SCRIPT, "bare-make", cell.kernel, str(cell.client.major), rdma, str(make_jobs)]
    with setting.engine.container(recipe.toolkit.pinned, command) as container:
        # The archive's top folder is `beegfs`; its parent exists in every toolkit.
        setting.engine.put_archive(container, "/opt", _sources(setting, site, recipe))
        yield container


def _sources(setting: Setting, site: Site, recipe: Recipe) -> bytes:
    package = site.packages / recipe.repository / recipe.source.pin.location
    mounts = [Mount(str(package), "/package.rpm")]
    workshop = lab_state(setting.layout)["workshop"]
    with setting.engine.container(workshop, ["bash", "-o", "pipefail", "-c", _UNPACK], mounts=mounts) as container:
        done = setting.engine.run(container)
        if done.status != 0:
            raise ToolError(
                f"{package.name} cannot be unpacked: {done.stderr.strip()[-300:]}",
                "Run `nox -s lab -- reset` and `nox -s lab -- up`, which rebuild the packages.",
            )
        return setting.engine.take_archive(container, f"/unpacked{_SOURCES}")


def _finished(setting: Setting, image: str, command: list[str], doing: str) -> None:
    with setting.engine.container(image, command) as container:
        done = setting.engine.run(container)
    if done.status != 0:
        raise ToolError(
            f"{image} cannot be {doing}: {done.stderr.strip()[-300:]}",
            "Check that the disk is not full, then run `nox -s lab -- reset`, `nox -s lab -- up` and the bench again.",
        )
