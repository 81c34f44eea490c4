"""Read the serial line of a boot gate's guest (its protocol: kmatrix/guest/init)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kmatrix.values.boot import Section, Transcript
from kmatrix.values.text import plain

_OURS = re.compile(r"@kmatrix([ |].*)")
_STEP_IN_LOG = re.compile(r"kmatrix: step (\S+)")
_GLUED = re.compile(r"(?=\[ *[0-9]+\.[0-9]{6}\] )")
_STAMP = re.compile(r"^\[ *[0-9]+\.[0-9]+\](?:\[[^\]]*\])? ?")


def read_transcript(lines: Iterable[str]) -> Transcript:
    """Return the transcript in the lines; a line that the kernel interrupted is attributed to the kernel."""
    sections: dict[str, Section] = {}
    console: list[str] = []
    init_ran = done = False
    step, name, collected = "", "", list[str]()
    for raw in lines:
        line = plain(raw).rstrip()
        match = _OURS.search(line)
        if match is None:
            if init_ran and line:
                console.append(line)
            continue
        text = match[1]
        if not text.startswith("|"):
            # Text of the kernel on the same line is the kernel's; output of a command may have stamps of its own.
            text, *kernels = _GLUED.split(text, maxsplit=1)
            console += kernels
        if text.startswith("| ") or text == "|":
            collected.append(text[2:])
            continue
        word, _, rest = text.strip().partition(" ")
        if word == "init":
            init_ran = True
        elif word == "done":
            done = True
        elif word == "step":
            step = rest
        elif word == "begin":
            name, collected = rest, []
        elif word == "end":
            name, _, status = rest.partition(" ")
            sections[name] = Section(tuple(collected), int(status) if status.isdigit() else None)
            name = ""
    if name:
        sections[name] = Section(tuple(collected), None)
    log = sections.get("log", Section((), None)).lines
    return Transcript(init_ran, done, step, sections, tuple(console), _by_step(log))


def without_stamp(line: str) -> str:
    """Return a kernel log line without its time stamp (and, on some kernels, its processor)."""
    return _STAMP.sub("", line)


def _by_step(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {"boot": []}
    step = "boot"
    for line in lines:
        if match := _STEP_IN_LOG.search(line):
            step = match[1]
            found.setdefault(step, [])
        else:
            found[step].append(without_stamp(line))
    return {name: tuple(entries) for name, entries in found.items()}
