"""keys new: creates the keys that sign images and kernel modules, and prints where each goes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from kmatrix.commands.invocation import Invocation
from kmatrix.decide.key_guide import MadeKey, image_key, key_guide, module_key
from kmatrix.effects.disk.git import work_tree_that_takes
from kmatrix.effects.signing import key_files
from kmatrix.effects.signing.environment import IMAGE_KEY_PASSWORD, MODULE_KEY_PASSWORD, take_keys
from kmatrix.effects.signing.key_files import KeyFile, write_key_files
from kmatrix.effects.signing.new_keys import new_image_key, new_module_key
from kmatrix.values.errors import Exit, InputError


def keys(call: Invocation) -> Exit:
    """Create key pairs in a folder, print the files, and say where each goes."""
    images, modules = call.images or not call.modules, call.modules or not call.images
    folder = call.folders[0].resolve()
    now = datetime.now(UTC)
    # Before git is started.
    passwords = take_keys()
    name = _name(call, modules, now)
    private = [key_files.IMAGE_KEY] * images + [key_files.MODULE_KEY] * modules
    _refuse_work_tree(folder, private)
    made: list[MadeKey] = []
    files: list[KeyFile] = []
    if images:
        password = passwords.get(IMAGE_KEY_PASSWORD, "")
        files += new_image_key(password)
        made.append(image_key(key_files.IMAGE_KEY, key_files.IMAGE_PUBLIC_KEY, bool(password)))
    if modules:
        password = passwords.get(MODULE_KEY_PASSWORD, "")
        files += new_module_key(name, now, call.years or key_files.DEFAULT_YEARS, password)
        made.append(module_key(key_files.MODULE_KEY, key_files.MODULE_CERTIFICATE, bool(password)))
    write_key_files(folder, files)
    for file in files:
        print(folder / file.name)
    call.say(key_guide(str(folder), made))
    return Exit.OK


def _name(call: Invocation, modules: bool, now: datetime) -> str:
    if not modules:
        for flag, value in (("--name", call.name), ("--years", call.years)):
            if value:
                raise InputError(
                    f"keys: {flag} has no effect on the key of images, which has no certificate", "Remove it."
                )
    # The date tells the certificates of two keys apart, in firmware and in /proc/keys.
    name = call.name or f"beegfs-kmatrix module key {now:%Y-%m-%d}"
    if len(name) > key_files.MOST_NAME or not name.isprintable() or name != name.strip():
        raise InputError(
            f"keys: --name {name!r} cannot be a certificate's name",
            f"Write at most {key_files.MOST_NAME} printable characters, without blanks at its ends.",
        )
    if call.years and call.years > key_files.MOST_YEARS:
        raise InputError(
            f"keys: --years {call.years} is longer than {key_files.MOST_YEARS} years", "Write a smaller number."
        )
    return name


def _refuse_work_tree(folder: Path, private: Iterable[str]) -> None:
    for name in private:
        top = work_tree_that_takes(folder / name)
        if top is not None:
            raise InputError(
                f"{folder} is in the checkout {top}, which does not ignore it: a private key there could be committed",
                "Name a folder outside of it.",
            )
