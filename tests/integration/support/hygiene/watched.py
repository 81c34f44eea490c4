"""Watches a program while it runs: the processes of this machine, and the containers of the engine."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError

from tests.integration.support.hygiene.secret_search import Forms, found_in

_PROC = Path("/proc")
# Short beside the life of a virtual machine or a compile, and long enough to leave the processor to them.
_SECONDS = 0.02


@dataclass
class Sightings:
    """What was seen in the command lines and environments of processes.

    Attributes:
        programs: the names of all programs that ran meanwhile.
        found: program, place (`cmdline` or `environ`) and name of each thing that was found.
    """

    programs: set[str] = field(default_factory=set)
    found: set[tuple[str, str, str]] = field(default_factory=set)

    def look(self, forms: Forms, ours: frozenset[int]) -> None:
        """Look at every process once.

        Args:
            forms: what to look for.
            ours: processes whose own environment may have it: it was given to them. A child has their command line and
                environment until it starts a program of its own.
        """
        lines = {_command_line(process) for process in ours} - {b""}
        for entry in os.listdir(_PROC):
            if not entry.isdecimal():
                continue
            try:
                arguments = (_PROC / entry / "cmdline").read_bytes()
                # The kernel tells no command line of a program that it is just starting.
                known = int(entry) in ours or arguments in lines
                environment = b"" if known else (_PROC / entry / "environ").read_bytes()
            except OSError:
                # It ended, or is another user's.
                continue
            program = Path(arguments.partition(b"\0")[0].decode("utf-8", "replace")).name
            self.programs.add(program)
            for place, data in (("cmdline", arguments), ("environ", environment)):
                self.found |= {(program, place, name) for name in found_in(data, forms)}


def _command_line(process: int) -> bytes:
    try:
        return (_PROC / str(process) / "cmdline").read_bytes()
    except OSError:
        return b""


@contextmanager
def watched_processes(forms: Forms, ours: frozenset[int]) -> Iterator[Sightings]:
    """Look at every process of this machine, again and again until the block ends."""
    seen, done = Sightings(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.look(forms, ours)
            done.wait(_SECONDS)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


@contextmanager
def watched_containers() -> Iterator[list[dict[str, Any]]]:
    """Yield what the engine tells of each container that is created until the block ends, and its events themselves."""
    client, seen = docker.from_env(), list[dict[str, Any]]()
    events = client.events(decode=True)

    def watch() -> None:
        for event in events:
            seen.append(event)
            if event.get("Type") == "container" and event.get("Action") in ("create", "start"):
                try:
                    seen.append(client.api.inspect_container(event["id"]))
                except APIError:
                    # It is gone already; the event itself has its labels.
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        events.close()
        thread.join()
        client.close()


def as_data(seen: list[dict[str, Any]]) -> bytes:
    """Return what the engine told as one text."""
    return json.dumps(seen).encode()
