"""Write the jobs of a plan as a child pipeline of GitLab.

A child pipeline must have at least one job, and a job at most 50 `needs`; so the jobs follow each other by stages, and
pass files on as artifacts (gitlab: doc/ci/pipelines/downstream_pipelines.md, doc/ci/yaml/_index.md). The file may
have 1 MB, from GitLab 17.3 on 2 MB (gitlab: doc/administration/instance_limits.md, max_yaml_size_bytes), and the
artifact that it is read from 5 MB (lib/gitlab/ci/artifact_file_reader.rb).

Variables with an environment as scope are given to its jobs alone; the action `access` makes a job one of them without
a deployment (gitlab: doc/ci/environments/_index.md, lib/gitlab/ci/config/entry/environment.rb). The token of a job's
identity is in a variable that its `id_tokens` name (lib/gitlab/ci/config/entry/id_token.rb), for cosign in this one
(sigstore/cosign: pkg/providers/envvar).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kmatrix.decide.fan_out import Job
from kmatrix.decide.fan_out_keys import NO_KEYS, JobKeys
from kmatrix.decide.formats.yaml_text import yaml_text
from kmatrix.decide.key_guide import GITLAB_BUILD, GITLAB_PUBLISH
from kmatrix.values.errors import InputError
from kmatrix.values.names import Arch

# The parent's job that ran `discover`, and its variable with the parent's id: docs/ci.md has the parent.
DISCOVER = "discover"
PARENT = "$PARENT_PIPELINE_ID"
MOST_BYTES = 1_000_000
_KEPT = "1 week"
# A runner keeps no results from one pipeline to the next: those of published cells are in the registry.
_LAST = ("merge -- shards --published", "bundle", "manifests")
_SAVE = (
    'mkdir -p "shards/$SHARD"',
    'for each in results.json results.xml logs; do if [ -e "build/$each" ]; then cp -r "build/$each" "shards/$SHARD/"; '
    "fi; done",
)


def gitlab_pipeline(
    jobs: Iterable[Job],
    profile_name: str,
    target: str,
    lock: str,
    runners: Mapping[Arch, tuple[str, ...]],
    keys: JobKeys = NO_KEYS,
) -> str:
    """Return the complete child pipeline as YAML.

    Args:
        jobs: its build jobs; without any it only composes bundles and manifests.
        profile_name: the profile.
        target: registry and path that images are pushed to.
        lock: the lock file, an artifact of the parent's job `discover`.
        runners: by architecture, the tags of its runners; without any, every runner may take the job.
        keys: the variables with private keys, which the project has with the environments of these jobs as scope.

    Raises:
        InputError: the file is larger than GitLab reads.
    """
    jobs = tuple(jobs)
    document: dict[str, Any] = {
        "stages": ["lock", "build", "publish"],
        "variables": {"KMATRIX_PROFILE": profile_name, "KMATRIX_TARGET": target},
        # Later jobs get it from here: jobs without `needs` get the artifacts of all earlier stages, of this pipeline.
        "lock": {
            "stage": "lock",
            "needs": [{"pipeline": PARENT, "job": DISCOVER, "artifacts": True}],
            "script": [f"test -s {lock}"],
            "artifacts": {"paths": [lock], "expire_in": _KEPT},
            **_tags(runners, "x86_64"),
        },
    }
    for job in jobs:
        document[f"build {job.id}"] = {
            "stage": "build",
            "variables": {"SHARD": job.id, "CELLS": " ".join(job.cells)},
            "script": ['./scripts/bootstrap nox -s build -- --only "$CELLS"'],
            "after_script": list(_SAVE),
            "artifacts": {
                "when": "always",
                "paths": ["shards/"],
                "reports": {"junit": f"shards/{job.id}/results.xml"},
                "expire_in": _KEPT,
            },
            **_environment(GITLAB_BUILD if keys.image or keys.next_image or keys.module else ""),
            **_identity(keys),
            **_tags(runners, job.arch),
        }
    merge, *others = (f"./scripts/bootstrap nox -s {each} || code=$?" for each in _LAST)
    # Bundles are booted with every kernel, and this job's machine is of x86_64.
    emulator = f"if grep -qs aarch64 {lock}; then ./scripts/bootstrap --arch aarch64 || code=$?; fi"
    commands = [merge, emulator, *others]
    report = "if [ -e build/results.json ]; then ./scripts/bootstrap nox -s report || code=$?; fi"
    document["publish"] = {
        "stage": "publish",
        # Also after failed jobs: a failed cell must not block the others.
        "when": "always",
        "script": ["code=0", "mkdir -p shards", *commands, report, 'exit "$code"'],
        "artifacts": {
            "when": "always",
            "paths": [
                *("build/results.json", "build/results.xml", "build/bundles.json"),
                *("build/deploy/", "build/report/", "build/logs/"),
            ],
            "reports": {"junit": "build/results.xml"},
            "expire_in": _KEPT,
        },
        **_environment(GITLAB_PUBLISH if keys.image or keys.next_image else ""),
        **_identity(keys),
        **_tags(runners, "x86_64"),
    }
    text = yaml_text(document, f"Generated by `kmatrix plan --profile {profile_name} --format gitlab`.")
    if len(text.encode()) > MOST_BYTES:
        raise InputError(
            f"the child pipeline has {len(text.encode())} bytes, and GitLab reads at most {MOST_BYTES}",
            "Divide the cells among several pipelines, with --only or with --shard.",
        )
    return text


def _environment(name: str) -> dict[str, Any]:
    """Return the key of a job that gives it the variables of an environment, without being a deployment."""
    return {"environment": {"name": name, "action": "access"}} if name else {}


def _identity(keys: JobKeys) -> dict[str, Any]:
    """Return the key of a job that gives it an identity, in the variable where cosign looks for one."""
    return {"id_tokens": {"SIGSTORE_ID_TOKEN": {"aud": "sigstore"}}} if keys.keyless else {}


def _tags(runners: Mapping[Arch, tuple[str, ...]], arch: Arch) -> dict[str, list[str]]:
    return {"tags": list(runners[arch])} if runners.get(arch) else {}
