"""Parts `second` and `sizes`: the cost of a run that finds everything published, and the bytes that nodes pull."""

from __future__ import annotations

from typing import Any

from bench.aims import Measures, Pulled, image_ratio, kernel_change_bytes
from bench.logs import counters
from bench.machine import load
from bench.setting import Setting
from kmatrix.commands.pins import fresh_lab_pins
from kmatrix.commands.run import alone
from kmatrix.decide.plan import make_plan
from kmatrix.effects.registry.client import Manifest, Registry
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.stages.publish import image_of
from kmatrix.values.cells import Cell
from kmatrix.values.errors import ToolError
from kmatrix.values.matrix import mirrored, required_target
from kmatrix.values.names import ImageRef


def publish_all(setting: Setting) -> None:
    """Publish the lab's cells, so that a second run finds them published.

    Raises:
        ToolError: a cell does not pass.
    """
    setting.say("publishing cells that the lab lacks")
    setting.nox("first-build", "-s", "build")


def measure_second(setting: Setting) -> tuple[Measures, dict[str, Any]]:
    """Return the wall time, builds and pulls of the README's command if all cells are published, and the raw run."""
    before = load()
    ended = setting.nox("second-build", "-s", "build")
    builds, pulls = counters(ended.output)
    measures = Measures(second_run_seconds=round(ended.seconds, 3), second_run_builds=builds, second_run_pulls=pulls)
    raw = {
        "load_before": before,
        "seconds": ended.seconds,
        "command": "nox -s build, nox's own start included",
        "builds": builds,
        "pulls": pulls,
    }
    return measures, raw


def measure_sizes(setting: Setting) -> tuple[Measures, dict[str, Any]]:
    """Return the largest image-to-toolkit ratio and the bytes of a kernel change, and every size.

    Raises:
        ToolError: a cell of the lab is not published.
    """
    chosen = setting.chosen
    registry = Registry(load_credentials(setting.call.authfile))
    target = required_target(chosen.name, chosen.effective)
    with alone(setting.call):
        pins = fresh_lab_pins(setting.call, chosen)
    cells = make_plan(chosen.name, chosen.effective, pins).cells
    sizes: dict[str, tuple[int, int]] = {}
    pulled: dict[str, Pulled] = {}
    for cell in cells:
        ref = image_of(target, cell)
        manifest = registry.manifest(ref, cell.arch)
        if manifest is None:
            raise ToolError(f"{ref} is not published", "Run `nox -s build`.")
        pulled[cell.id] = _pulled(cell, manifest)
        toolkit = mirrored(cell.toolkit, chosen.effective.mirrors)
        sizes[cell.id] = (_size(setting, ref.with_digest(manifest.digest)), _size(setting, toolkit, keep=True))
    measures = Measures(
        image_ratio=round(image_ratio(sizes.values()), 4), kernel_change_bytes=kernel_change_bytes([*pulled.values()])
    )
    raw = {
        "how": "size reported by the engine's image inspection, for the published image (pulled by digest) and for its "
        "toolkit; pulled bytes are the sizes in the registry's manifests, configuration included",
        "image_and_toolkit_bytes": {name: list(pair) for name, pair in sizes.items()},
        "layers": {name: dict(entry.layers) for name, entry in pulled.items()},
        "config_bytes": {name: entry.config_bytes for name, entry in pulled.items()},
    }
    return measures, raw


def _pulled(cell: Cell, manifest: Manifest) -> Pulled:
    return Pulled(str(cell.client), manifest.config_size, {digest: size for digest, _, size in manifest.layers})


def _size(setting: Setting, ref: ImageRef, keep: bool = False) -> int:
    """Return the size of an image in the engine; an image that it did not have before is removed, unless `keep`."""
    engine = setting.engine
    had = engine.image(ref.pinned) is not None
    engine.pull(ref.pinned, None)
    try:
        found = engine.image(ref.pinned)
        if found is None:
            raise ToolError(f"the engine no longer has {ref.pinned}", "Something else removes images; run it again.")
        return found.size
    finally:
        if not had and not keep:
            engine.remove_image(ref.pinned)
