"""Reads the facts about the module of an image that are recorded beside it, where no gate of the run has read them."""

from __future__ import annotations

from kmatrix.decide.formats.elf import MalformedElfError
from kmatrix.stages.gates.gate import ImageUnderTest
from kmatrix.stages.run_context import CellContext, raise_if_stopping
from kmatrix.values.errors import KmatrixError
from kmatrix.values.gate_record import RecordedModule


def module_in_image(cell: CellContext, image_id: str) -> RecordedModule | None:
    """Return the facts about the module of an image that the container engine has.

    They are information: where they cannot be read, the image is recorded without them, and the log says why.

    Raises:
        InterruptedRunError: the run was told to stop.
    """
    try:
        return ImageUnderTest(cell, image_id, gates=()).module
    except (KmatrixError, MalformedElfError) as error:
        raise_if_stopping(cell.run, error)
        message = error.message if isinstance(error, KmatrixError) else str(error)
        cell.line(f"kmatrix: note: the facts about the module are not recorded: {message}")
        return None
