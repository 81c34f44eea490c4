"""Build contexts: labels come in one instruction, with exactly their values; the base is a prebuilt one."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from kmatrix.effects.engine.archives import regular_files
from kmatrix.effects.engine.build_context import (
    based_context,
    context_on,
    context_with_tree,
    labelled_context,
    pack_context,
)
from kmatrix.values.errors import ToolError


def test_all_labels_are_one_instruction_at_the_end() -> None:
    context = labelled_context(pack_context("FROM scratch\nCOPY a /\n", {"a": b"x"}), {"two": "b c", "one": 'q" $x \\'})
    files = regular_files(context)
    assert files["a"] == b"x"
    assert files["Dockerfile"].decode() == 'FROM scratch\nCOPY a /\nLABEL "one"="q\\" \\$x \\\\" "two"="b c"\n'


def test_without_labels_a_context_stays_as_it_is() -> None:
    context = pack_context("FROM scratch\n", {"a": b"#!/bin/sh\n"})
    assert labelled_context(context, {}) is context


@pytest.mark.parametrize(("name", "value"), [("a", "x\nRUN id"), ("a\rb", "x"), ("a", "x\x00")])
def test_a_label_cannot_add_an_instruction(name: str, value: str) -> None:
    with pytest.raises(ToolError, match="no label can have"):
        labelled_context(pack_context("FROM scratch\n", {}), {name: value})


def test_the_base_stage_becomes_an_image_and_nothing_else_changes() -> None:
    stages = "\nFROM base AS packages\nRUN a\n\nFROM base AS userland\n# FROM here on\nRUN b\n"
    before = f"# a comment\nFROM x/y@sha256:1 AS base\nRUN microdnf \\\n  install\n{stages}"
    files = regular_files(based_context(pack_context(before, {"a": b"x"}), "sha256:2"))
    assert files.pop("Dockerfile").decode() == f"# a comment\nFROM sha256:2 AS base\n{stages}"
    assert files == {"a": b"x"}


def test_the_base_stage_is_built_on_another_image_and_its_instructions_stay() -> None:
    stages = "RUN microdnf \\\n  install\n\nFROM base AS packages\nRUN a\n"
    before = f"# a comment\nFROM x/y@sha256:1 AS base\n{stages}"
    files = regular_files(context_on(pack_context(before, {"a": b"x"}), "x/y@sha256:2"))
    assert files.pop("Dockerfile").decode() == f"# a comment\nFROM x/y@sha256:2 AS base\n{stages}"
    assert files == {"a": b"x"}


@pytest.mark.parametrize("change", [based_context, context_on])
def test_a_dockerfile_without_a_base_stage_is_refused(change: Callable[[bytes, str], bytes]) -> None:
    with pytest.raises(ToolError, match="no stage `base`"):
        change(pack_context("FROM x AS other\n", {}), "sha256:2")


def tree(*entries: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, **values: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for key, value in values.items():
        setattr(made, key, value)
    return made


def test_a_tree_comes_into_a_context_with_its_links_its_folders_and_its_dates() -> None:
    parts = [
        entry("module", tarfile.DIRTYPE, mode=0o755, mtime=0),
        entry("module/beegfs.ko", size=3, mode=0o644, mtime=0),
        entry("module/host", tarfile.SYMTYPE, linkname="/lib/modules/1", mtime=0),
        entry("module/other", size=2, mode=0o600, mtime=7),
    ]
    replaced = {"module/beegfs.ko": b"signed", "module/beegfs.der": b"der"}
    context = context_with_tree(pack_context("FROM scratch\n", {"a": b"x"}), tree(*parts), replaced)
    labelled = labelled_context(context, {"one": "1"})
    with tarfile.open(fileobj=io.BytesIO(labelled)) as archive:
        found = {member.name: member for member in archive}
    assert regular_files(labelled) == {
        "Dockerfile": b'FROM scratch\nLABEL "one"="1"\n',
        "a": b"x",
        "module/beegfs.der": b"der",
        "module/beegfs.ko": b"signed",
        "module/other": bytes(2),
    }
    assert found["module"].isdir()
    assert (found["module"].mode, found["module"].mtime) == (0o755, 0)
    assert found["module/host"].linkname == "/lib/modules/1"
    assert (found["module/other"].mode, found["module/other"].mtime) == (0o600, 7)
    signed = (found["module/beegfs.ko"], found["module/beegfs.der"])
    assert {(member.mode, member.mtime) for member in signed} == {(0o644, 0)}
