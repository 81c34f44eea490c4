"""Ctrl-C in the middle of a build: it stops soon, keeps what is done, leaves nothing running; the next run goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from integration.labs import Lab
from integration.sites import UNBOOTED, Site, SiteMaker
from kmatrix.effects.engine import RUN_LABEL

pytestmark = pytest.mark.engine
_RUNNING = re.compile(r"---> Running in ([0-9a-f]{12})")
# Says when the second cell's compiler is at work.
RUN = """
import sys
import pytest
from integration.moments import at_line, at_stage
from kmatrix import cli
with pytest.MonkeyPatch.context() as patch:
    compiling = lambda: print("COMPILING", file=sys.stderr, flush=True)
    at_stage(patch, "build", sys.argv[1], lambda: at_line(patch, r"CC \\[M\\] ", compiling))
    sys.exit(cli.main(sys.argv[2:]))
"""
# A bound for a machine that is busy with other things; what is under way is ended, not waited for.
_SOON_SECONDS = 30


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    made = docker.from_env()
    yield made
    made.close()


def containers(client: docker.DockerClient, site: Site) -> list[str]:
    runs = {path.name for path in (site.root / "build" / "runs").iterdir()}
    found = client.api.containers(all=True, filters={"label": RUN_LABEL})
    return [str(container["Id"]) for container in found if container["Labels"][RUN_LABEL] in runs]


def test_ctrl_c_keeps_what_is_done_and_the_next_run_goes_on(
    lab: Lab, new_site: SiteMaker, client: docker.DockerClient
) -> None:
    site = new_site(kernels=[lab.kernels.older, lab.kernels.newer, lab.kernels.next_line])
    first, second, third = site.planned()
    # With one cell at a time make has more jobs, so none of this is in the engine's cache.
    arguments = ["build", "--jobs", "1", *UNBOOTED, "--root", str(site.root)]
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(tests), str(tests / "unit")])}
    log = site.root / "build" / "logs" / f"{second}.log"
    command = [sys.executable, "-c", RUN, second, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as run:
        try:
            assert run.stderr
            said = []
            for line in run.stderr:
                said.append(line)
                if line == "COMPILING\n":
                    break
            run.send_signal(signal.SIGINT)
            said += run.communicate(timeout=_SOON_SECONDS)[1].splitlines(keepends=True)
        finally:
            run.kill()
    assert run.returncode == 130, "".join(said)
    assert "interrupted; what was finished is kept" in said[-1]
    assert "Traceback" not in "".join(said)
    results = json.loads((site.root / "build" / "results.json").read_text())
    assert [(cell["cell"], cell["verdict"]) for cell in results["cells"]] == [(first, "passed")]
    site.note_steps()
    assert containers(client, site) == []
    # Its compile's container, too, was ended by the run and not only by the engine's noticing that nobody listens.
    compiling = _RUNNING.findall(log.read_text())[-1]
    assert [c["State"] for c in client.api.containers() if c["Id"].startswith(compiling)] == []
    assert site.tags == {first}
    rest = site.run("build")
    assert rest.code == 0, rest.stderr
    assert rest.verdicts == {first: "skipped", second: "passed", third: "passed"}
