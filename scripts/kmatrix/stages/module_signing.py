"""Signs a cell's module between the stages of its build, outside of the engine's builder."""

from __future__ import annotations

from kmatrix.effects.engine.build_context import context_with_tree
from kmatrix.effects.signing.sign_file import sign_module
from kmatrix.stages.patience import patiently
from kmatrix.stages.run_context import CellContext
from kmatrix.values.errors import ToolError
from kmatrix.values.module import certificate_path, module_path
from kmatrix.values.recipe import MODULE_FOLDER


def signed_context(cell: CellContext, context: bytes, image: str) -> bytes:
    """Return the context of a cell's last stage: with what its stage `module` built, signed, and the certificate.

    Args:
        cell: the cell.
        context: as the engine is given it.
        image: the engine's id of the built stage.

    Raises:
        UnreachableError, ToolError: the engine failed, or the module could not be signed.
    """
    engine, recipe, signer = cell.run.engine, cell.recipe, cell.run.module_signer
    if signer is None or signer.certificate != recipe.certificate:
        raise ToolError(
            "this run has no key for the certificate that the module is to be signed with", "Report this as a bug."
        )
    kernel = recipe.cell.kernel

    def compiled() -> tuple[bytes, bytes | None]:
        with engine.container(image) as container:
            tree = engine.take_archive(container, f"/{MODULE_FOLDER}")
            return tree, engine.read_file(container, f"/{MODULE_FOLDER}{module_path(kernel)}")

    tree, module = patiently(compiled, engine)
    if module is None:
        raise ToolError(f"the build left no {module_path(kernel)} to sign", "Read the build's log.")
    signed = patiently(lambda: sign_module(engine, recipe.toolkit.pinned, kernel, module, signer), engine)
    files = {module_path(kernel): signed, certificate_path(kernel): recipe.certificate}
    return context_with_tree(context, tree, {f"{MODULE_FOLDER}{path}": content for path, content in files.items()})
