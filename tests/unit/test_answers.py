"""Answers about digests on disk: kept, found again, and never believed when they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmatrix.effects.registry.answers import Answers

DIGEST = "sha256:" + "a" * 64


def test_an_answer_is_found_again_by_another_process(tmp_path: Path) -> None:
    Answers(tmp_path).keep("manifest", DIGEST, b"content" * 100)
    assert Answers(tmp_path).content("manifest", DIGEST) == b"content" * 100
    assert Answers(tmp_path).content("config", DIGEST) is None
    assert Answers(tmp_path / "other").content("manifest", DIGEST) is None


def test_files_are_kept_by_their_question(tmp_path: Path) -> None:
    answers = Answers(tmp_path)
    answers.keep_files(DIGEST, "6\0etc/x", {"etc/x": b"\xff\x00"})
    assert answers.files(DIGEST, "6\0etc/x") == {"etc/x": b"\xff\x00"}
    assert answers.files(DIGEST, "1\0etc/x") is None


@pytest.mark.parametrize("kept", [slice(-3), slice(20), slice(0), slice(1, None)])
def test_a_damaged_answer_counts_as_absent(tmp_path: Path, kept: slice) -> None:
    answers = Answers(tmp_path)
    answers.keep("manifest", DIGEST, b"content" * 100)
    answers.keep_files(DIGEST, "6\0x", {"x": b"1"})
    for path in tmp_path.rglob("*.*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[kept])
    assert answers.content("manifest", DIGEST) is None
    assert answers.files(DIGEST, "6\0x") is None


def test_exchanged_content_is_not_believed(tmp_path: Path) -> None:
    answers = Answers(tmp_path)
    answers.keep("manifest", DIGEST, b"one")
    other = "sha256:" + "b" * 64
    answers.keep("manifest", other, b"two")
    one, two = sorted(path for path in tmp_path.rglob("*.manifest"))
    first, second = one.read_bytes(), two.read_bytes()
    two.write_bytes(first[:32] + second[32:])
    assert answers.content("manifest", other) is None


def test_a_place_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answers = Answers(tmp_path / "file")
    answers.keep("manifest", DIGEST, b"content")
    assert answers.content("manifest", DIGEST) is None
