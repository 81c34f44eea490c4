"""The files that a Dockerfile copies from its context, by the builder's own rules.

They are those of moby/buildkit (frontend/dockerfile/parser/parser.go: comments and blank lines are dropped within a
continued instruction too, blanks before a continued line stay, and, in newer releases alone, a backslash behind another
continues nothing; directives.go: the lines skipped before a directive; line_parsers.go: text that only looks like JSON
is words) and of moby/moby (builder/dockerfile/copy.go: a pattern's `*` ends at a slash, a folder is copied completely).
"""

from __future__ import annotations

import pytest

from kmatrix.decide.formats.dockerfile import context_sources, identity, instructions, is_stray, select_copied
from kmatrix.values.errors import InputError

FILES = dict.fromkeys(("a", "b", "c d", "sub/x", "sub/deep/y", "sub/x~", "sub/.x.swp", "other/z", "a.txt"), b"")


def taken(dockerfile: str) -> list[str]:
    return list(select_copied(dockerfile, FILES, {}, "Dockerfile"))


def test_comments_and_blank_lines_are_no_part_of_an_instruction() -> None:
    text = "# top\n\nFROM x\nRUN a \\\n# within\n\n   && b \\  \n  && c\n  # indented\nrun d\r\n"
    assert instructions(text) == ("FROM x", "RUN a    && b   && c", "run d")


def test_an_instruction_that_the_file_ends_within_counts() -> None:
    assert instructions("RUN a \\\n") == ("RUN a ",)


def test_an_image_counts_by_its_digest_and_not_by_where_it_is_pulled_from() -> None:
    digests = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    first, second, other = (
        identity(f"FROM {name} AS base\nRUN x\n")
        for name in (f"one.example/a@{digests[0]}", f"mirror:5000/all/a@{digests[0]}", f"one.example/a@{digests[1]}")
    )
    assert first == second != other
    assert identity("FROM one/a:1\n") != identity("FROM two/a:1\n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("COPY a b /x/", ["a", "b"]),
        ("COPY ./a /x", ["a"]),
        ("COPY /a /x", ["a"]),
        ("copy a /x", ["a"]),
        ("COPY\ta\t/x", ["a"]),
        ("ADD a /x", ["a"]),
        ("COPY --chown=1:1 --chmod=755 a /x", ["a"]),
        ('COPY ["c d", "a", "/x/"]', ["a", "c d"]),
        ('COPY --chown=1 ["c d", "/x/"]', ["c d"]),
        ("COPY a \\\n  # no\n  b \\\n  /x/", ["a", "b"]),
        ("COPY --from=base a /x", []),
        ("# COPY a /x", []),
        ("RUN COPY a /x", []),
        ("COPY sub /x/", ["sub/deep/y", "sub/x"]),
        ("COPY sub/ /x/", ["sub/deep/y", "sub/x"]),
        ("COPY su? /x/", ["sub/deep/y", "sub/x"]),
        ("COPY */x /x/", ["sub/x"]),
        ("COPY *.txt /x/", ["a.txt"]),
        ("COPY [ab] /x/", ["a", "b"]),
        ("COPY [^b] /x/", ["a"]),
        ("COPY . /x/", ["a", "a.txt", "b", "c d", "other/z", "sub/deep/y", "sub/x"]),
        ("COPY sub/x~ /x/", ["sub/x~"]),
    ],
)
def test_the_files_that_an_instruction_copies(line: str, expected: list[str]) -> None:
    assert taken(f"FROM x\n{line}\n") == expected


@pytest.mark.parametrize("line", ["COPY nothing /x", "COPY sub/nothing /x", "COPY *.md /x/", "COPY a/b /x"])
def test_a_copy_of_what_is_not_there_is_told_before_anything_is_built(line: str) -> None:
    with pytest.raises(InputError, match=r"Dockerfile copies .*no such file") as caught:
        taken(f"FROM x\n{line}\n")
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "FROM x\nARG A\nCOPY $A /x\n",
        "FROM x\nCOPY a\\ b /x\n",
        "FROM x\nADD https://a.example/b /x\n",
        "FROM x\nADD git@a.example:b /x\n",
        "FROM x\nCOPY <<EOF /x\ntext\nEOF\n",
        "FROM x\nRUN --mount=type=bind,target=/y cat /y/a\n",
        "# syntax = docker/dockerfile:1\nFROM x\n",
        "# escape=`\nFROM x\n",
        # Builders skip a byte order mark, some of them blanks, and BuildKit a first line with #!.
        "\ufeff# syntax=docker/dockerfile:1\nFROM x\n",
        " \t# escape=`\nFROM x\n",
        "#!/usr/bin/env x\n# syntax=docker/dockerfile:1\nFROM x\n",
        "// syntax=docker/dockerfile:1\nFROM x\n",
        # These go on in the next line for a builder, and for a newer one do not.
        "FROM x\nRUN echo a\\\\\nCOPY a /\n",
        "FROM x\nRUN echo a\\\\\\ \t\r\nCOPY a /\n",
        # The builder takes the quotes off.
        'FROM x\nCOPY "a" /\n',
        "FROM x\nCOPY 'c d' /\n",
    ],
)
def test_what_cannot_be_told_from_the_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="Dockerfile") as caught:
        context_sources(text, "Dockerfile")
    assert caught.value.hint


def test_a_byte_order_mark_is_no_part_of_the_first_instruction() -> None:
    assert instructions("\ufeffFROM x\n") == ("FROM x",)
    assert identity(f"\ufeffFROM a@sha256:{'1' * 64}\n") == identity(f"FROM b@sha256:{'1' * 64}\n")


def test_backslashes_in_a_comment_or_within_a_line_are_no_continuation() -> None:
    assert context_sources("# a \\\\\nFROM x\nRUN a \\\\ b\nCOPY a /\n", "Dockerfile") == ("a",)


def test_what_only_looks_like_a_heredoc_or_a_directive_is_none() -> None:
    text = "# a comment first\n# escape=`\nFROM x\nRUN [ $((1<<2)) = 4 ] && cat <<<a\nRUN cat --mount=x\n"
    assert context_sources(text, "Dockerfile") == ()


def test_a_file_that_cannot_be_read_matters_only_if_it_is_copied() -> None:
    assert list(select_copied("FROM x\nCOPY a /\n", {"a": b""}, {"b": "Permission denied"}, "D")) == ["a"]
    with pytest.raises(InputError, match="D copies b, which cannot be read: Permission denied"):
        select_copied("FROM x\nCOPY a b /x/\n", {"a": b""}, {"b": "Permission denied"}, "D")


def test_what_comes_from_elsewhere_is_not_looked_for_here() -> None:
    files = {"a": b"", "packages/old.rpm": b"", "package-key": b"other"}
    text = "FROM x\nCOPY a package-key /x/\nCOPY packages/ /y/\n"
    assert list(select_copied(text, files, {}, "D", ("package-key", "packages"))) == ["a"]
    for line in ("COPY * /x/", "COPY . /x/", "COPY a packages/new.rpm /x/"):
        assert list(select_copied(f"FROM x\n{line}\n", files, {}, "D", ("package-key", "packages"))) == ["a"]
    with pytest.raises(InputError, match="copies other"):
        select_copied("FROM x\nCOPY other /\n", files, {}, "D", ("package-key", "packages"))


@pytest.mark.parametrize(
    "name",
    [
        *(".beegfs-node.swp", ".beegfs-node.swo", "a~", ".#a", "#a#", "4913", "a.orig", "a.rej", "sub/a~"),
        *("__pycache__/a.pyc", "sub/.DS_Store", ".gitignore"),
    ],
)
def test_leftovers_of_editors_are_strays(name: str) -> None:
    assert is_stray(name)


@pytest.mark.parametrize("name", ["beegfs-node", "a.conf", ".profile", "swap", "sub/a", "etc/a.d/b"])
def test_other_files_are_none(name: str) -> None:
    assert not is_stray(name)
