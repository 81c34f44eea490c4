"""A release that comes out during a test: published in the lab by the command line, retracted at the end."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass

from kmatrix import cli
from kmatrix.lab.releases import PublishedRelease
from kmatrix.lab.state import added, lab_state
from tests.integration.support.lab import Lab
from tests.integration.support.session import Session

# A channel that no other test discovers, and profile `lab` neither: the cells that they count stay the same.
CHANNEL = "candidate-4.97"
CHANNELS = [{"name": "stable-4.96"}, {"name": "stable-4.97"}, {"name": CHANNEL}]


@dataclass(frozen=True)
class Done:
    """An action on the lab that ended: its exit code and its outputs."""

    code: int
    stdout: str
    stderr: str


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
def later_release(lab: Lab, session: Session, *words: str) -> Iterator[PublishedRelease]:
    """Publish a release in `CHANNEL`, and yield it; at the end it leaves the update graph.

    Args:
        lab: publishes it; nothing else of it changes.
        session: keeps other workers from acting on the lab at the same time.
        words: further options, such as --broken.
    """
    with session.locked("lab-releases"):
        done = lab_command(lab, "release", "--channel", CHANNEL, *words)
    assert done.code == 0, done.stderr
    version = done.stdout.strip()
    try:
        yield next(each for each in added(lab_state(lab.layout)) if each.version == version)
    finally:
        with session.locked("lab-releases"):
            gone = lab_command(lab, "retract", "--release", version)
        assert gone.code == 0, gone.stderr
        assert lab_command(lab, "status").code == 0, "the update graph is not that of the lab's state"
