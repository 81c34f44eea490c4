"""Signs a kernel module with the kernel's own program, in a container of the toolkit that never sees a network."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kmatrix.effects.engine import Engine
from kmatrix.values.errors import ToolError

# It takes 12 MB of memory, which a run without keys need not spend.
if TYPE_CHECKING:
    from kmatrix.effects.signing.module_keys import ModuleSigner

# sha256 whatever the kernel was configured for: every kernel with signed modules has it (kernel/module/Kconfig).
HASH = "sha256"
_FOLDER = "kmatrix-sign"
_MODULE, _CERTIFICATE = "beegfs.ko", "certificate"
# The key comes by the standard input, and lies in memory alone while the container runs: every engine mounts a tmpfs at
# /dev/shm. sign-file reads it from a file (scripts/sign-file.c, read_private_key).
_SCRIPT = f"""
set -eu
umask 077
key=$(mktemp -p /dev/shm)
# An engine may be configured to share the host's.
trap 'rm -f "$key"' EXIT
cat >"$key"
"/usr/src/kernels/$1/scripts/sign-file" {HASH} "$key" /{_FOLDER}/{_CERTIFICATE} /{_FOLDER}/{_MODULE}
"""


def sign_module(engine: Engine, toolkit: str, kernel: str, module: bytes, signer: ModuleSigner) -> bytes:
    """Return a module with its signature appended (PKCS#7 without signed attributes: equal input gives equal bytes).

    The container is made of the toolkit as it was pulled, not of the image in which the client was compiled: nothing
    that the client's package brought runs beside the key.

    Args:
        engine: has the toolkit.
        toolkit: its reference by digest.
        kernel: kernel release, whose headers have the program.
        module: the module's file, stripped.
        signer: the key and its certificate.

    Raises:
        UnreachableError: the engine went away.
        ToolError: the toolkit lacks the program, or it failed.
        InterruptedRunError: the run was told to stop.
    """
    with engine.container(toolkit, ["sh", "-c", _SCRIPT, "sign-module", kernel], stdin=True) as container:
        engine.put_archive(container, "/", _archive({_MODULE: module, _CERTIFICATE: signer.certificate}))
        done = engine.run(container, stdin=signer.key)
        if done.status != 0:
            raise ToolError(
                f"sign-file of the toolkit {toolkit} failed for {kernel}: {done.stderr.strip()[-300:] or done.status}",
                f"Check that the toolkit has /usr/src/kernels/{kernel}/scripts/sign-file and the libraries that it "
                "needs; to publish unsigned modules, remove module_signing from the profile in matrix.yaml.",
            )
        signed = engine.read_file(container, f"/{_FOLDER}/{_MODULE}")
    if signed is None or not signed.startswith(module) or len(signed) == len(module):
        raise ToolError(
            f"sign-file of the toolkit {toolkit} did not append a signature to the module for {kernel}",
            "Check the toolkit: its program changed the module, or did nothing.",
        )
    return signed


def _archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{_FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
