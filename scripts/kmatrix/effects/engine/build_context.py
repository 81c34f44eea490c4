"""Build contexts: the folders under images/, and the archive that an engine is given."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

from kmatrix.effects.disk.files import read_text
from kmatrix.effects.engine.archives import entries, regular_files
from kmatrix.values.errors import ToolError
from kmatrix.values.recipe import ImageSource

_BASE_FROM = re.compile(r"^FROM \S+ AS base\n", re.MULTILINE)
# Up to the next stage.
_BASE_STAGE = re.compile(r"^FROM \S+ AS base\n(?:(?!FROM ).*\n)*", re.MULTILINE)


def read_image_source(folder: Path) -> ImageSource:
    """Read images/<name>: its template and every file beside it, of which an instruction may copy some.

    Raises:
        InputError: there is no such template, or it cannot be read.
    """
    template = read_text(folder / "Dockerfile.j2", "Dockerfile template", "Take it from version control.")
    return ImageSource(template, *read_files(folder))


def read_files(folder: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return every file below a folder by its path there, and why some could not be read.

    A leftover of an editor may be unreadable, and no instruction may copy it: so that is no error yet.
    """
    files: dict[str, bytes] = {}
    unreadable: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        try:
            if path.is_file():
                files[name] = path.read_bytes()
        except OSError as error:
            unreadable[name] = error.strerror or str(error)
    return files, unreadable


def pack_context(dockerfile: str, files: Mapping[str, bytes]) -> bytes:
    """Return a build context as a tar archive; the same input gives the same bytes.

    Args:
        dockerfile: its text.
        files: content by path; a file that begins with `#!` is executable.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, content in sorted({**files, "Dockerfile": dockerfile.encode()}.items()):
            _add_file(archive, path, content)
    return buffer.getvalue()


def _add_file(archive: tarfile.TarFile, path: str, content: bytes) -> None:
    member = tarfile.TarInfo(path)
    member.size = len(content)
    member.mode = 0o755 if content.startswith(b"#!") else 0o644
    archive.addfile(member, io.BytesIO(content))


def context_with_tree(context: bytes, tree: bytes, replaced: Mapping[str, bytes]) -> bytes:
    """Return a context with the entries of another archive, as they are: their dates, modes and links too.

    Args:
        context: as the engine is given it.
        tree: the other archive.
        replaced: content by path, of files of `tree` that get other content, or that are added beside those.
    """
    buffer = io.BytesIO()
    rest = dict(replaced)
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, content in regular_files(context).items():
            _add_file(archive, path, content)
        for member, source in entries(io.BytesIO(tree), ends_with_zeros=True):
            if member.name in rest:
                _add_file(archive, member.name, rest.pop(member.name))
            else:
                archive.addfile(member, source.extractfile(member) if member.isfile() else None)
        for path, content in sorted(rest.items()):
            _add_file(archive, path, content)
    return buffer.getvalue()


def labelled_context(context: bytes, labels: Mapping[str, str]) -> bytes:
    """Return a context whose Dockerfile ends with all labels in one instruction.

    The engine's own option for labels makes an instruction of each, and with it a container and a commit.

    Raises:
        ToolError: a label holds a character that could end the instruction.
    """
    if not labels:
        return context
    words = []
    for name, value in sorted(labels.items()):
        if not (name.isprintable() and value.isprintable()):
            raise ToolError(
                f"the label {name!r} has the value {value!r}, which no label can have",
                "Correct it at its source: the remote's address in git, matrix.yaml or matrix.lock.",
            )
        words.append("=".join(json.dumps(text, ensure_ascii=False).replace("$", "\\$") for text in (name, value)))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member, source in entries(io.BytesIO(context), ends_with_zeros=True):
            file = source.extractfile(member) if member.isfile() else None
            if member.name == "Dockerfile" and file:
                dockerfile = file.read().decode()
                _add_file(archive, "Dockerfile", f"{dockerfile.rstrip()}\nLABEL {' '.join(words)}\n".encode())
            else:
                archive.addfile(member, file)
    return buffer.getvalue()


def context_on(context: bytes, image: str) -> bytes:
    """Return the context with its stage `base` built on another image; the stage's instructions stay.

    Args:
        context: as the engine is given it.
        image: NAME@DIGEST of the image.

    Raises:
        ToolError: the Dockerfile has no stage `base`.
    """
    return _with_stage(context, _BASE_FROM, f"FROM {image} AS base\n")


def based_context(context: bytes, image: str) -> bytes:
    """Return the context with its stage `base` replaced by a prebuilt image.

    Args:
        context: as the engine is given it.
        image: the id of the prebuilt image.

    Raises:
        ToolError: the Dockerfile has no stage `base`.
    """
    return _with_stage(context, _BASE_STAGE, f"FROM {image} AS base\n\n")


def _with_stage(context: bytes, stage: re.Pattern[str], replacement: str) -> bytes:
    files = regular_files(context)
    dockerfile, count = stage.subn(replacement, files.pop("Dockerfile").decode(), count=1)
    if not count:
        raise ToolError("the Dockerfile has no stage `base`", "Look at images/beegfs-client/Dockerfile.j2.")
    return pack_context(dockerfile, files)
