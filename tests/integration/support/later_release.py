"""A release that comes out during a test: published in the lab by the command line, retracted at the end."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from string import ascii_lowercase

from kmatrix import cli
from kmatrix.lab.releases import PublishedRelease
from kmatrix.lab.state import added, lab_state
from tests.integration.support.lab import Lab
from tests.integration.support.session import Session


@dataclass(frozen=True)
class Done:
    """An action on the lab that ended: its exit code and its outputs."""

    code: int
    stdout: str
    stderr: str


def own_channel() -> str:
    """Return a channel that nothing else discovers, so that the cells that other tests count stay the same.

    A module's tests may run in two workers, each of which publishes what the module needs.
    """
    letters = "".join(secrets.choice(ascii_lowercase) for _ in range(8))
    return f"candidate-{letters}-4.97"


def with_channel(channel: str) -> list[dict[str, str]]:
    """Return the key `channels` of a profile: those of profile `lab`, and one more."""
    return [{"name": "stable-4.96"}, {"name": "stable-4.97"}, {"name": channel}]


def lab_command(lab: Lab, *words: str) -> Done:
    """Run an action on this lab, in this process."""
    profile = lab.profile
    places = {"--root": lab.root, "--graph": profile.graph, "--packages": profile.packages, "--base": profile.base}
    given = [word for flag, value in places.items() for word in (flag, str(value))]
    stderr, stdout = io.StringIO(), io.StringIO()
    with redirect_stderr(stderr), redirect_stdout(stdout):
        code = cli.main(["lab", *words, *given])
    return Done(code, stdout.getvalue(), stderr.getvalue())


@contextmanager
def later_release(lab: Lab, session: Session, channel: str, *words: str) -> Iterator[PublishedRelease]:
    """Publish a release, and yield it; at the end it leaves the update graph.

    Args:
        lab: publishes it; nothing else of it changes.
        session: keeps other workers from acting on the lab at the same time.
        channel: the release is in this one alone (see `own_channel`).
        words: further options, such as --broken.
    """
    with session.locked("lab-releases"):
        done = lab_command(lab, "release", "--channel", channel, *words)
    assert done.code == 0, done.stderr
    version = done.stdout.strip()
    try:
        yield next(each for each in added(lab_state(lab.layout)) if each.version == version)
    finally:
        with session.locked("lab-releases"):
            gone = lab_command(lab, "retract", "--release", version)
        assert gone.code == 0, gone.stderr
        assert lab_command(lab, "status").code == 0, "the update graph is not that of the lab's state"
