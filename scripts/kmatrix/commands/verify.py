"""verify: put the images of cells through the gates again; or, with --remote, verify the signatures of any image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rich.text import Text

from kmatrix.commands import build
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import select_profile
from kmatrix.decide.remote_report import ImageDocuments, faults, files, is_saved_name, report, rows
from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.signing.image_keys import PublicKey, load_public_keys
from kmatrix.stages.columns import Column, print_table
from kmatrix.stages.remote_image import remote_documents
from kmatrix.values.errors import Exit, InputError
from kmatrix.values.matrix import ImageSigning
from kmatrix.values.names import ImageRef

_COLUMNS = (
    Column("of", 3),
    Column("document"),
    Column("verdict"),
    Column("public key", 2, least=20),
    Column("content", 1, least=40),
)
_STYLES = {"verified": "green", "not verified": "red"}


def verify(call: Invocation) -> Exit:
    """Check cells again, or verify what a registry has for the image that --remote names.

    Raises:
        InputError: an option is given that has an effect with --remote alone.
    """
    if call.remote:
        return _remote(call)
    given = {"--key": call.keys, "--save": call.save, "--json": call.json}
    if useless := [option for option, value in given.items() if value]:
        raise InputError(f"verify: {useless[0]} has no effect without --remote", "Name an image with --remote.")
    return build.verify(call)


def _remote(call: Invocation) -> Exit:
    """Verify an image: 0 if a signature and a test result verify, 1 if they do not.

    Raises:
        InputError: there is no public key, or the reference is malformed.
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried, or has no such image.
    """
    try:
        ref = ImageRef.parse(call.remote)
    except ValueError as error:
        raise InputError(f"--remote: {error}", "Write HOST/PATH:TAG or HOST/PATH@sha256:…") from None
    keys = _keys(call)
    registry = Registry(load_credentials(call.authfile))
    image, documents = remote_documents(registry, ref, keys, call.say)
    # A digest decides, whatever tag stands beside it.
    tag = "" if ref.digest else ref.tag
    _show(call, image, documents, tag)
    if call.save:
        _save(call, call.save, files(documents))
    if call.json:
        print(json.dumps(report(str(image), documents, tag), indent=2))
    return Exit.FAILED if faults(documents, tag) else Exit.OK


def _keys(call: Invocation) -> Mapping[str, PublicKey]:
    """Return the public keys to accept: those that are given, else the profile's."""
    if call.keys:
        return {str(path): _key(path.name, path.parent) for path in call.keys}
    chosen = select_profile(call)
    signing = chosen.effective.image_signing
    if signing is None or not signing.public_keys:
        raise InputError(
            f"profile {chosen.name} has no public key that could verify an image",
            "Give the publisher's public key with --key FILE, or list it under image_signing.public_keys in "
            "matrix.yaml.",
        )
    return {name: _key(name, call.root) for name in signing.public_keys}


def _key(name: str, folder: Path) -> PublicKey:
    # An option may name any file: matrix.yaml's rules for paths do not hold.
    (key,) = load_public_keys(ImageSigning.model_construct(public_keys=(name,)), folder)
    return key


def _show(call: Invocation, image: ImageRef, documents: tuple[ImageDocuments, ...], tag: str) -> None:
    shown = [
        (about, name, Text(verdict, style=_STYLES[verdict]), key, content)
        for about, name, verdict, key, content in rows(documents)
    ]
    if shown:
        print_table(call.console, _COLUMNS, shown)
    found = faults(documents, tag)
    for fault in found:
        call.conclude(fault)
    if found:
        call.conclude(
            f"{image} is not verified. Do not use it; ask its publisher, and compare the public key with theirs."
        )
    else:
        call.conclude(f"{image} is verified: signed, and tested before it was published.")


def _save(call: Invocation, folder: Path, found: Mapping[str, Mapping[str, object]]) -> None:
    # Documents of another image, of an earlier run, must not be taken for those that verify.
    for stale in list(folder.glob("*.json")) if folder.is_dir() else ():
        if is_saved_name(stale.name) and stale.name not in found:
            stale.unlink()
    for name, predicate in found.items():
        write_atomically(folder / name, json.dumps(predicate, indent=2, sort_keys=True) + "\n")
    call.say(f"{folder}: {', '.join(found) or 'nothing that verifies to save'}")
