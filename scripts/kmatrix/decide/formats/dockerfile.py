"""Read a Dockerfile: its instructions without comments, and the files of its context that it copies.

The rules are those of BuildKit's parser, which Docker's classic builder shares (moby/buildkit,
frontend/dockerfile/parser/parser.go, directives.go and line_parsers.go), and of the builder's COPY (moby/moby,
builder/dockerfile/copy.go).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache

from kmatrix.values.errors import InputError

# Some builders skip blanks (parser.go), or a first line that begins with #! (directives.go), before a directive.
_DIRECTIVE = re.compile(r"(?:#!.*\n)?[^\S\n]*(?:#|//)\s*(?:syntax|escape|check)\s*=", re.IGNORECASE)
_CONTINUED = re.compile(r"\\[ \t]*$")
_DOUBTFUL = re.compile(r"\\\\[ \t]*$")
_FLAGS = re.compile(r"^(?:--\S+\s+)+")
_HEREDOC = re.compile(r"(?:^|\s)\d*<<-?['\"]?\w")
_PINNED = re.compile(r"\S+@(sha256:[0-9a-f]{64})")
_BYTE_ORDER_MARK = "\ufeff"
_WILDCARDS = re.compile(r"[*?\[]")
# Files that vim, emacs, nano, patch, git and desktops leave beside one that is being edited.
_STRAY = re.compile(
    r"\.?[^/]*\.sw[a-p]|[^/]*~|#[^/]*#|\.#[^/]*|4913|[^/]*\.(?:orig|rej|bak|pyc)|\.DS_Store|__pycache__|\.git(?:ignore|keep)?"
)


def is_stray(path: str) -> bool:
    """Return whether a path, relative to a folder that people edit, is a leftover of an editor or a program."""
    return any(_STRAY.fullmatch(part) for part in path.split("/"))


# A cell's Dockerfile is read for its key and again for its files.
@lru_cache(maxsize=4)
def instructions(dockerfile: str) -> tuple[str, ...]:
    """Return the instructions, each as one line, without comments and blank lines, which decide nothing."""
    found: list[str] = []
    open_line = ""
    for line in _lines(dockerfile):
        text = _CONTINUED.sub("", line)
        open_line += text if open_line else text.lstrip()
        if text == line:
            found.append(open_line)
            open_line = ""
    return (*found, open_line) if open_line else tuple(found)


def _lines(dockerfile: str) -> Iterator[str]:
    """Yield the lines without comments, blank lines and a byte order mark."""
    for line in dockerfile.removeprefix(_BYTE_ORDER_MARK).replace("\r\n", "\n").split("\n"):
        bare = line.lstrip()
        if bare and not bare.startswith("#"):
            yield line


def identity(dockerfile: str) -> tuple[str, ...]:
    """Return the parts of a Dockerfile that decide the image's bytes.

    An image that is pinned by its digest counts by that alone: a mirror of any name cannot give other bytes.
    """
    return tuple(
        _PINNED.sub(r"\1", line, count=1) if line[:5].upper() == "FROM " else line for line in instructions(dockerfile)
    )


def context_sources(dockerfile: str, where: str) -> tuple[str, ...]:
    """Return the paths and patterns that COPY and ADD take from the context, in order, each once.

    Args:
        dockerfile: its text.
        where: its name, for errors.

    Raises:
        InputError: it has a form whose files cannot be determined from its text.
    """
    # A directive below the first line is a comment.
    if _DIRECTIVE.match(dockerfile.removeprefix(_BYTE_ORDER_MARK)):
        raise InputError(f"{where}: a parser directive is refused", "Remove `# syntax`, `# escape` or `# check`.")
    for line in _lines(dockerfile):
        if _DOUBTFUL.search(line):
            raise InputError(
                f"{where}: `{line[:60]}`: builders disagree whether a line that ends in two backslashes continues",
                "End the line in one backslash if it continues, or in another character if it does not.",
            )
    found: dict[str, None] = {}
    for line in instructions(dockerfile):
        name, *after = line.split(maxsplit=1)
        rest = after[0] if after else ""
        flags = _FLAGS.match(rest)
        given = flags[0].split() if flags else []
        kind = name.upper()
        if ("<<" in rest and _HEREDOC.search(rest)) or (
            kind == "RUN" and any(flag.startswith("--mount") for flag in given)
        ):
            raise InputError(
                f"{where}: `{line[:60]}`: the classic builder has neither `<<` nor `--mount`",
                "Put the text into a file beside the template, and name the file in a COPY.",
            )
        if kind not in ("COPY", "ADD") or any(flag.startswith("--from=") for flag in given):
            continue
        for source in _arguments(_FLAGS.sub("", rest))[:-1]:
            if any(sign in source for sign in "$\\\"'") or "://" in source or source.startswith("git@"):
                raise InputError(
                    f"{where}: `{line[:60]}`: {source} is not a path in the build context",
                    "Name the file itself: no variable, no escape, no quotes, no address.",
                )
            found[_clean(source)] = None
    return tuple(found)


def select_copied(
    dockerfile: str,
    files: Mapping[str, bytes],
    unreadable: Mapping[str, str],
    where: str,
    supplied: Collection[str] = (),
) -> dict[str, bytes]:
    """Return the files of a folder that an instruction copies, by path, sorted.

    A file that is named is always taken; a file that a folder or a pattern covers is taken unless it is a stray.

    Args:
        dockerfile: its text.
        files: contents by path, relative to the context.
        unreadable: why others could not be read, by path.
        where: the Dockerfile's name, for errors.
        supplied: files and folders that come into the context from elsewhere; files of these names are ignored here.

    Raises:
        InputError: a source does not exist, could not be read, or cannot be determined.
    """
    available = {path for path in (*files, *unreadable) if path.split("/")[0] not in supplied}
    taken: set[str] = set()
    for source in context_sources(dockerfile, where):
        if source.split("/")[0] in supplied:
            continue
        if source in available:
            taken.add(source)
            continue
        within = {path for path in available if _covers(source, path) and not is_stray(path)}
        if not within:
            raise InputError(
                f"{where} copies {source}, and there is no such file", "Put it into the folder, or correct the COPY."
            )
        taken |= within
    for path in sorted(taken & unreadable.keys()):
        raise InputError(
            f"{where} copies {path}, which cannot be read: {unreadable[path]}",
            "Make it readable for the user who runs this.",
        )
    return {path: files[path] for path in sorted(taken)}


def _arguments(rest: str) -> list[str]:
    """Return the arguments of COPY or ADD after their flags, in either form."""
    if rest.startswith("["):
        try:
            listed = json.loads(rest)
        except ValueError:
            # As the parser does: text that is not JSON is split into words.
            listed = None
        if isinstance(listed, list) and all(isinstance(word, str) for word in listed):
            return listed
    return rest.split()


def _clean(source: str) -> str:
    return "/".join(part for part in source.split("/") if part not in ("", "."))


def _covers(source: str, path: str) -> bool:
    """Return whether a COPY of `source`, a folder or a pattern, covers a file; `*` stays within one part of a path."""
    wanted, parts = [part for part in source.split("/") if part], path.split("/")
    if len(wanted) > len(parts):
        return False
    if not _WILDCARDS.search(source):
        return parts[: len(wanted)] == wanted
    return all(fnmatchcase(part, pattern.replace("[^", "[!")) for part, pattern in zip(parts, wanted, strict=False))
