"""The kernel tag of a cell: its image once more, in a repository of its client, under a tag that is the kernel alone.

Kernel Module Management loads modules at first boot by a BootModuleConfig. That names an image without a tag, and a
script on the node appends what `uname -r` prints (rh-ecosystem-edge/kernel-module-management, api/v1beta1/
bootmoduleconfig_types.go and internal/mcfg/scripts/pull-image.sh). A cell's own tag names the client too.
"""

from __future__ import annotations

from dataclasses import replace

from kmatrix.stages.gate_records import OTHER_WRITER
from kmatrix.stages.image_signing import complete_signature, is_completable, sign_image
from kmatrix.stages.publish import IMAGE, image_of
from kmatrix.stages.run_context import RunContext, raise_if_stopping
from kmatrix.values.cells import Cell, CellResult
from kmatrix.values.errors import KmatrixError, ToolError
from kmatrix.values.names import ClientVersion, ImageRef, image_tag


def kernel_repository(target: str, client: ClientVersion | str) -> ImageRef:
    """Return the repository that has a client's images by kernel."""
    return ImageRef.parse(f"{target}/{IMAGE}-{client}")


def kernel_image_of(target: str, cell: Cell) -> ImageRef:
    """Return the name of a cell's image that has the kernel as its tag, `+` written `_`."""
    return kernel_repository(target, cell.client).with_tag(image_tag(cell.kernel))


def with_kernel_tag(run: RunContext, cell: Cell, result: CellResult) -> CellResult:
    """Give a published cell its kernel tag, where the profile asks for it, and return the cell's result.

    Only an image that has passed every gate and has its own tag gets it. Where it cannot be written, the cell is
    errored, though its image is published: the next run finds the cell published and writes the tag alone.

    Raises:
        InterruptedRunError: the run was told to stop.
    """
    if not run.options.profile.kernel_tags or not is_completable(run, result):
        return result
    raise_if_stopping(run)
    try:
        put_kernel_tag(run, cell, result.digest)
    except KmatrixError as error:
        raise_if_stopping(run, error)
        ref = kernel_image_of(run.options.target, cell)
        reason = f"{result.reason}; published, but not as {ref}: {error.message}"
        return replace(result, verdict="errored", reason=reason, next_step=error.hint)
    return result


def put_kernel_tag(run: RunContext, cell: Cell, digest: str) -> bool:
    """Have a cell's published image under its kernel tag too: the same manifest, byte for byte.

    It is signed there as well, before it has the tag: a signature names the repository that nodes pull from.

    Args:
        run: the run.
        cell: the cell.
        digest: of its published image.

    Returns:
        whether the tag was written; false if it names the image already.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried, or refuses.
        ToolError: the registry lost the image, or the tag names something else afterwards.
    """
    registry, ref = run.registry, kernel_image_of(run.options.target, cell)
    source = image_of(run.options.target, cell).with_tag("").with_digest(digest)
    if registry.digest_of(ref) == digest:
        complete_signature(run, ref, digest, source)
        return False
    manifest = registry.manifest(source, cell.arch)
    if manifest is None:
        raise ToolError(f"{source}: the registry reports that the cell's image is not there", OTHER_WRITER)
    for blob in dict.fromkeys((manifest.config, *(layer for layer, _, _ in manifest.layers))):
        registry.copy_blob(ref, source, blob)
    if run.trust.signs:
        registry.put_manifest(ref.with_tag(""), manifest.content, manifest.media_type)
        if not complete_signature(run, ref, digest, source):
            sign_image(run, ref, digest)
    registry.put_manifest(ref, manifest.content, manifest.media_type)
    named = registry.digest_of(ref)
    if named != digest:
        raise ToolError(f"{ref} was written to name {digest} and names {named or 'nothing'}", OTHER_WRITER)
    return True
