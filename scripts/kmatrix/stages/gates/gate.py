"""A gate, its outcome, and the image that it judges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from kmatrix.decide.formats.kernel_tree import kernel_facts
from kmatrix.effects.engine.inspect import read_cell_image, read_toolkit
from kmatrix.stages.patience import patiently
from kmatrix.stages.run_context import CellContext
from kmatrix.values.cells import Finding
from kmatrix.values.module import ImageFacts, KernelFacts


@dataclass(frozen=True)
class Outcome:
    """How an image came through one gate.

    `message` is the reason in one line, or for a pass the evidence; `next_step` a sentence on how to fix the reason;
    `serial` the path of the guest's console, relative to the project; `srcversion` the module's, where it was read.
    """

    verdict: Literal["passed", "failed", "errored"]
    message: str
    findings: tuple[Finding, ...] = ()
    next_step: str = ""
    serial: str = ""
    srcversion: str = ""


class ImageUnderTest:
    """The image that a cell's gates judge; whatever several gates need is read once.

    `named` is whether the cell's name leads to the image, in the registry or in the container engine. An image that was
    just built has a name of the run's own alone, and is removed with that.
    """

    def __init__(self, cell: CellContext, image_id: str, *, named: bool = True) -> None:
        self.cell = cell
        self.id = image_id
        self.named = named

    @cached_property
    def facts(self) -> ImageFacts:
        """The image's content and labels, as far as gates judge them."""
        engine = self.cell.run.engine
        return patiently(lambda: read_cell_image(engine, self.id, self.cell.recipe.cell.kernel), engine)

    @cached_property
    def kernel(self) -> KernelFacts:
        """The facts about the cell's kernel; read once for all cells of a run."""
        run, recipe = self.cell.run, self.cell.recipe
        kernel, toolkit = recipe.cell.kernel, recipe.toolkit.pinned
        return run.kernel_facts.get(
            f"{toolkit} {kernel}",
            lambda: kernel_facts(kernel, patiently(lambda: read_toolkit(run.engine, toolkit, kernel), run.engine)),
        )


@dataclass(frozen=True)
class Gate:
    """A gate between a built image and the registry.

    `run` returns the outcome; an exception that it raises makes it `errored`. `boots` is whether it needs a virtual
    machine: `--no-boot` leaves out every gate that does.
    """

    name: str
    run: Callable[[ImageUnderTest], Outcome]
    boots: bool = False
