"""The lab's images: a Debian base (public, or bootstrapped) and the images built on it, each built once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from kmatrix.decide.formats.dockerfile import is_stray, select_copied
from kmatrix.effects.disk.files import read_text
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.build_context import pack_context, read_files
from kmatrix.effects.engine.errors import StepFailedError
from kmatrix.effects.lab.debian import bootstrap_base, import_empty
from kmatrix.lab.layout import IMAGES, LAB_LABEL, Layout
from kmatrix.values.errors import InputError, KmatrixError, ToolError
from kmatrix.values.names import Arch
from kmatrix.values.narration import Narration

SUITE = "bookworm"
# bash 5.1, kmod 28 and coreutils 8.32, as in UBI 9; the suite above has newer ones.
OLDER_SUITE = "bullseye"
# The packages of that suite that the run-time image needs beyond a minimal Debian.
OLDER_PACKAGES = "gnupg kmod rpm xz-utils"
Say = Callable[[str], None]


def ensure_base(engine: Engine, say: Say, suite: str = SUITE) -> str:
    """Return the name of a suite's base image; if it is missing, pull the public one, else bootstrap it.

    Raises:
        ToolError: neither is possible.
        UnreachableError: the engine went away.
    """
    repository = f"{IMAGES}/base"
    base, public = f"{repository}:{suite}", f"docker.io/library/debian:{suite}-slim"
    if engine.image(base) is not None:
        return base
    say(f"base image of {suite}: pulling the public one")
    try:
        engine.pull(public, None)
        engine.tag(public, repository, suite)
        return base
    except KmatrixError:
        say(f"base image of {suite}: the public one is unreachable; bootstrapping it (about 40 s)")
    bootstrap_base(engine, suite, repository, suite)
    return base


def ensure_foreign_base(engine: Engine, say: Say, arch: Arch) -> str:
    """Return the name of the base image of another architecture than this machine's; bootstrap it if it is missing.

    Raises:
        ToolError: it cannot be bootstrapped.
        UnreachableError: the engine went away.
    """
    repository, tag = f"{IMAGES}/base", f"{SUITE}-{arch}"
    base = f"{repository}:{tag}"
    if engine.image(base) is None:
        say(f"base image of {SUITE} for {arch}: bootstrapping it under emulation (about 3 minutes)")
        bootstrap_base(engine, SUITE, repository, tag, arch)
    return base


def ensure_empty(engine: Engine, arch: Arch) -> str:
    """Return the name of an image without files that is of an architecture; import it if it is missing.

    Raises:
        UnreachableError, ToolError: the engine went away, or refuses.
    """
    repository = f"{IMAGES}/empty"
    if engine.image(f"{repository}:{arch}") is None:
        import_empty(engine, repository, arch, arch)
    return f"{repository}:{arch}"


def ensure_image(
    engine: Engine, layout: Layout, name: str, base: str, say: Say, buildargs: Mapping[str, str] | None = None
) -> str:
    """Return the name of the image built from images/lab-NAME; build it unless the engine has it.

    The name's tag is a digest over context, base and arguments, so a changed definition is rebuilt. The builder's lines
    go to `say` too, if it takes them (`Narration`).

    Raises:
        ToolError: it cannot be built.
    """
    context = image_context(layout.images(name))
    arguments = {"BASE": base, **(buildargs or {})}
    identity = json.dumps([sorted(arguments.items()), hashlib.sha256(context).hexdigest()])
    reference = f"{IMAGES}/{name}:{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    if engine.image(reference) is not None:
        return reference
    detail = " ".join(
        value for key, value in sorted((buildargs or {}).items()) if value and key not in ("RHEL_VERSION", "ROOT")
    )
    say(f"image {name}: building {detail}".rstrip())
    lines: list[str] = []

    def line(text: str) -> None:
        lines.append(text)
        if isinstance(say, Narration):
            say.output(name, text)

    try:
        engine.build(
            context,
            on_line=line,
            network="default",
            buildargs=arguments,
            labels={LAB_LABEL: name},
            tag=reference,
        )
    except StepFailedError as error:
        tail = "\n  ".join(lines[-12:])
        raise ToolError(
            f"the lab's image {name} could not be built: {error}\n  {tail}",
            "If the package archive was unreachable, run `nox -s lab -- up` again later.",
        ) from error
    return reference


def image_context(folder: Path) -> bytes:
    """Return the build context in images/<name>: its Dockerfile, and the files that an instruction copies.

    Raises:
        InputError: one of them is missing, or cannot be read.
    """
    files = definition(folder)
    return pack_context(files.pop("Dockerfile").decode(), files)


def definition(folder: Path) -> dict[str, bytes]:
    """Return the files of images/<name> that decide the result, by path; leftovers of editors do not.

    Raises:
        InputError: one of them is missing, or cannot be read.
    """
    files, unreadable = read_files(folder)
    if "Dockerfile" in files or "Dockerfile" in unreadable:
        dockerfile = read_text(folder / "Dockerfile", "Dockerfile", "Take it from version control.")
        copied = select_copied(dockerfile, files, unreadable, str(folder / "Dockerfile"))
        return {"Dockerfile": dockerfile.encode(), **copied}
    for path in unreadable:
        if not is_stray(path):
            raise InputError(f"{folder / path}: {unreadable[path]}", "Make it readable for whoever runs this.")
    return {path: content for path, content in files.items() if path != "README.md" and not is_stray(path)}
