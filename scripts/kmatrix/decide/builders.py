"""Who built an image: the continuous integration that this program runs in, by the names that its maker gives it.

Only variables that name a place are read; none of them is a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kmatrix.values.project import PROGRAM
from kmatrix.values.redaction import redacted

LOCAL = f"{PROGRAM}/builders/local"
# SLSA demands a builder (docs/spec/v1.0/provenance.md) where an earlier run built an image, on whatever machine.
UNKNOWN = f"{PROGRAM}/builders/unknown"
_ADDRESS = re.compile(r"https?://[^\s?#]+")


@dataclass(frozen=True)
class Builder:
    """A builder in the sense of SLSA, and its run: the address of both, or the id of a run without one."""

    id: str
    invocation: str


def builder_of(environment: Mapping[str, str], run_id: str) -> Builder:
    """Return the builder that an environment names; one that names none is a local one.

    GitHub's names are those of its own attestations (actions/toolkit, packages/attest/src/provenance.ts), GitLab's
    those of its runner (gitlab-org/gitlab-runner, commands/helpers/artifact_metadata.go).

    Args:
        environment: the variables of this process.
        run_id: this program's own id of the run.
    """

    def value(name: str) -> str:
        return environment.get(name, "")

    # A workflow has an @ in its name, which is no user's.
    server, workflow = redacted(value("GITHUB_SERVER_URL")), value("GITHUB_WORKFLOW_REF")
    runs = f"{server}/{value('GITHUB_REPOSITORY')}/actions/runs/{value('GITHUB_RUN_ID')}"
    github = Builder(f"{server}/{workflow}", f"{runs}/attempts/{value('GITHUB_RUN_ATTEMPT') or '1'}")
    project, runner = redacted(value("CI_PROJECT_URL")), value("CI_RUNNER_ID")
    gitlab = Builder(f"{project}/-/runners/{runner}", redacted(value("CI_JOB_URL")))
    for known, builder in ((workflow, github), (runner, gitlab)):
        if known and _ADDRESS.fullmatch(builder.id) and _ADDRESS.fullmatch(builder.invocation):
            return builder
    return Builder(LOCAL, run_id)
