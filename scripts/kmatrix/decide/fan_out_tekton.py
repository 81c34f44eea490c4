"""Write the jobs of a plan as a PipelineRun of Tekton, for OpenShift Pipelines.

The form is that of `tekton.dev/v1` (tektoncd/pipeline: pkg/apis/pipeline/v1, pipelinerun_types.go, pipeline_types.go,
matrix_types.go): `matrix.include` takes texts alone, one entry for each TaskRun, and at most as many as the setting
`default-max-matrix-combinations-count` says, 256 by default. Tasks in `finally` run whatever became of the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kmatrix.decide.fan_out import Job
from kmatrix.decide.fan_out_keys import NO_KEYS, JobKeys
from kmatrix.decide.formats.yaml_text import yaml_text
from kmatrix.decide.key_guide import (
    IMAGE_KEY_VARIABLE,
    MODULE_KEY_VARIABLE,
    NEXT_IMAGE_KEY_VARIABLE,
    PASSWORD,
    TEKTON_IMAGE_KEY,
    TEKTON_MODULE_KEY,
    TEKTON_NEXT_IMAGE_KEY,
    TEKTON_PASSWORD,
    TEKTON_SECRET,
)
from kmatrix.values.errors import InputError
from kmatrix.values.names import GO_ARCH, Arch

IMAGE = "docker.io/library/debian:13"
CLAIM = "kmatrix"
SECRET = "kmatrix-pull-secret"
# etcd refuses objects above 1.5 MiB; the status of a run grows in the same object.
MOST_BYTES = 1_000_000
_SOURCE, _CREDENTIALS = "source", "credentials"
# The commands of a script that sign.
_SIGNS = re.compile(r"\./scripts/bootstrap nox -s (build|bundle)")
_TASKS = "9h0m0s"
_FINALLY = "3h0m0s"
# Tekton starts every TaskRun of a matrix at once. Pods wait until a node has this much left, and that counts as time.
_ROOM = {"cpu": "2", "memory": "4Gi"}
# Each pod works in a checkout of its own: one run at a time may write to a checkout. The copy is root's: git refuses to
# read the checkout of another user.
_BEGIN = """#!/usr/bin/env bash
set -euo pipefail
tar -C "$SOURCE" --exclude=./build --exclude=./shards --exclude=./.venv -c . | tar -x --no-same-owner
shards=$SOURCE/shards/$RUN
code=0
"""
_BUILD = (
    _BEGIN
    + """./scripts/bootstrap nox -s build -- --only "$CELLS" || code=$?
mkdir -p "$shards/$SHARD"
for each in results.json results.xml logs; do
  if [ -e "build/$each" ]; then cp -r "build/$each" "$shards/$SHARD/"; fi
done
exit "$code"
"""
)
_PUBLISH = (
    _BEGIN
    + """mkdir -p "$shards"
./scripts/bootstrap nox -s merge -- "$shards" --published || code=$?
./scripts/bootstrap nox -s bundle || code=$?
./scripts/bootstrap nox -s manifests || code=$?
if [ -e build/results.json ]; then ./scripts/bootstrap nox -s report || code=$?; fi
cp -r build/. "$shards/"
exit "$code"
"""
)


def tekton_run(
    jobs: Iterable[Job],
    profile_name: str,
    target: str,
    lock: str,
    runners: Mapping[Arch, tuple[str, ...]],
    keys: JobKeys = NO_KEYS,
) -> str:
    """Return the complete PipelineRun as YAML, to be created with `oc create -f -`.

    Args:
        jobs: its TaskRuns; without any it only composes bundles and manifests.
        profile_name: the profile.
        target: registry and path that images are pushed to.
        lock: the lock file, which lies in the checkout in workspace `source`.
        runners: by architecture, further labels `NAME=VALUE` that the nodes of its pods must have.
        keys: the variables with private keys, which come from files of the Secret `kmatrix-keys`.

    Raises:
        InputError: a label has another form, or the object is larger than a cluster stores.
    """
    del lock
    jobs = tuple(jobs)
    secrets = _secrets(keys)
    for_images = [each for each in secrets if each.entry != TEKTON_MODULE_KEY]
    arches = tuple(dict.fromkeys(job.arch for job in jobs))
    common = {"KMATRIX_PROFILE": profile_name, "KMATRIX_TARGET": target}
    tasks = [_build(arch, [job for job in jobs if job.arch == arch], common, secrets) for arch in arches]
    publish = _task("publish", _with_keys(_PUBLISH, for_images), _FINALLY, common, (), for_images)
    names = {task["name"]: arch for task, arch in zip(tasks, arches, strict=True)}
    spec: dict[str, Any] = {
        "params": [{"name": "image", "value": IMAGE}],
        "timeouts": {"pipeline": "12h0m0s", "tasks": _TASKS, "finally": _FINALLY},
        "workspaces": [
            {"name": _SOURCE, "persistentVolumeClaim": {"claimName": CLAIM}},
            {"name": _CREDENTIALS, "secret": {"secretName": SECRET}},
            *(each.binding for each in secrets),
        ],
        "taskRunSpecs": [
            {"pipelineTaskName": name, "podTemplate": {"nodeSelector": _node(arch, runners)}}
            for name, arch in {**names, "publish": "x86_64"}.items()
        ],
        "pipelineSpec": {
            "params": [{"name": "image", "type": "string"}],
            "workspaces": [{"name": each} for each in (_SOURCE, _CREDENTIALS, *(each.workspace for each in secrets))],
            # A pipeline must have a task besides those of `finally`.
            **({"tasks": tasks, "finally": [publish]} if tasks else {"tasks": [publish]}),
        },
    }
    document = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"generateName": f"kmatrix-{profile_name.lower().replace('_', '-')}-"},
        "spec": spec,
    }
    text = yaml_text(document, f"Generated by `kmatrix plan --profile {profile_name} --format tekton`.")
    if len(text.encode()) > MOST_BYTES:
        raise InputError(
            f"the PipelineRun has {len(text.encode())} bytes, and there is room for {MOST_BYTES} in a cluster",
            "Divide the cells among several PipelineRuns, with --only or with --shard.",
        )
    return text


@dataclass(frozen=True)
class _SecretKey:
    """A private key in the Secret: its entry there, the variable that a run takes it from, and that of its password."""

    entry: str
    variable: str
    password: str

    @property
    def workspace(self) -> str:
        return f"{self.entry}s"

    @property
    def place(self) -> str:
        """The variable of a script with the folder that has the files."""
        return self.workspace.upper().replace("-", "_")

    @property
    def binding(self) -> dict[str, Any]:
        """The workspace of the run: what the Secret lacks, such as a password, is then no file."""
        names = (self.entry, self.entry + TEKTON_PASSWORD)
        items = [{"key": name, "path": name} for name in names]
        return {"name": self.workspace, "secret": {"secretName": TEKTON_SECRET, "optional": True, "items": items}}


def _secrets(keys: JobKeys) -> list[_SecretKey]:
    every = (
        _SecretKey(TEKTON_IMAGE_KEY, keys.image, IMAGE_KEY_VARIABLE + PASSWORD),
        _SecretKey(TEKTON_NEXT_IMAGE_KEY, keys.next_image, NEXT_IMAGE_KEY_VARIABLE + PASSWORD),
        _SecretKey(TEKTON_MODULE_KEY, keys.module, MODULE_KEY_VARIABLE + PASSWORD),
    )
    return [each for each in every if each.variable]


def _with_keys(script: str, secrets: Iterable[_SecretKey]) -> str:
    """Return a script whose command that signs has the keys, and no other program of the pod."""
    lines: list[str] = []
    for each in secrets:
        file = f'"${each.place}/{each.entry}"'
        password = f'"${each.place}/{each.entry}{TEKTON_PASSWORD}"'
        lines += [f"  export {each.variable}={file}"]
        # The line may lack its end. Text in the form of a variable of Tekton must not be in a script.
        lines += [f"  if [ -e {password} ]; then", f"    IFS= read -r {each.password} <{password} || true", "  fi"]
        lines += [f"  export {each.password}"]
    if not lines:
        return script
    function = "\n".join(["with_keys() (", *lines, '  exec "$@"', ")", ""])
    begun = script.replace(_BEGIN, _BEGIN + function, 1)
    return _SIGNS.sub(r"with_keys \g<0>", begun)


def _build(arch: Arch, jobs: list[Job], common: Mapping[str, str], secrets: Sequence[_SecretKey]) -> dict[str, Any]:
    values = [(job.id, {"shard": job.id, "cells": " ".join(job.cells)}) for job in jobs]
    include = [
        {"name": name, "params": [{"name": key, "value": value} for key, value in own.items()]} for name, own in values
    ]
    script = _with_keys(_BUILD, secrets)
    task = _task(f"build-{arch.replace('_', '-')}", script, _TASKS, common, ("shard", "cells"), secrets)
    return {"name": task["name"], "matrix": {"include": include}, **task}


def _task(
    name: str,
    script: str,
    timeout: str,
    common: Mapping[str, str],
    own: tuple[str, ...],
    secrets: Sequence[_SecretKey],
) -> dict[str, Any]:
    workspaces = (_SOURCE, _CREDENTIALS, *(each.workspace for each in secrets))
    # Values reach the script by its environment: text that Tekton puts into a script is taken for shell.
    environment = {
        "SOURCE": f"$(workspaces.{_SOURCE}.path)",
        "RUN": "$(params.run)",
        **common,
        "KMATRIX_AUTHFILE": f"$(workspaces.{_CREDENTIALS}.path)/.dockerconfigjson",
        **{each.place: f"$(workspaces.{each.workspace}.path)" for each in secrets},
        **{each.upper(): f"$(params.{each})" for each in own},
    }
    volumes = {"work": "/work", "docker": "/var/lib/docker"}
    step = {
        "name": "run",
        "image": "$(params.image)",
        "workingDir": "/work",
        # The container engine runs in this container.
        "securityContext": {"privileged": True, "runAsUser": 0},
        "computeResources": {"requests": dict(_ROOM)},
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "volumeMounts": [{"name": volume, "mountPath": path} for volume, path in volumes.items()],
        "script": script,
    }
    return {
        "name": name,
        "timeout": timeout,
        "params": [
            {"name": "image", "value": "$(params.image)"},
            {"name": "run", "value": "$(context.pipelineRun.name)"},
        ],
        "workspaces": [{"name": each, "workspace": each} for each in workspaces],
        "taskSpec": {
            "params": [{"name": each, "type": "string"} for each in ("image", "run", *own)],
            "workspaces": [{"name": each} for each in workspaces],
            "volumes": [{"name": volume, "emptyDir": {}} for volume in volumes],
            "steps": [step],
        },
    }


def _node(arch: Arch, runners: Mapping[Arch, tuple[str, ...]]) -> dict[str, str]:
    labels = {"kubernetes.io/arch": GO_ARCH[arch]}
    for label in runners.get(arch, ()):
        name, equals, value = label.partition("=")
        if not equals:
            raise InputError(
                f"--runner {arch}={label}: {label!r} is not a label of nodes", f"Write --runner {arch}=NAME=VALUE."
            )
        labels[name] = value
    return labels
