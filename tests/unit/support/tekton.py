"""The part of Tekton's `tekton.dev/v1` that a PipelineRun of this project uses, closed: other fields are faults.

Types: tektoncd/pipeline, pkg/apis/pipeline/v1: pipelinerun_types.go, pipeline_types.go, matrix_types.go, task_types.go,
container_types.go, param_types.go, workspace_types.go; pkg/apis/pipeline/pod/template.go. Rules: beside them,
pipeline_validation.go, pipelinerun_validation.go, task_validation.go; matrix_types.go (validateCombinationsCount,
validateParams, validateParameterInOneOfMatrixOrParams).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

MOST_COMBINATIONS = 256
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"\$\(([^)]*)\)")


def _object(required: tuple[str, ...] = (), /, **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": [*required], "additionalProperties": False}


def _list(of: Any) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": 1}


_TEXT = {"type": "string", "minLength": 1}
_DURATION = {"type": "string", "pattern": r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_PARAM = _object(("name", "value"), name=_TEXT, value={"type": "string"})
_PARAM_SPEC = _object(("name",), name=_TEXT, type={"enum": ["string"]}, default={"type": "string"})
_WORKSPACE = _object(("name",), name=_TEXT)
_STEP = _object(
    ("name", "image"),
    name=_TEXT,
    image=_TEXT,
    workingDir={"type": "string", "pattern": "^/"},
    securityContext=_object(privileged={"type": "boolean"}, runAsUser={"type": "integer"}),
    computeResources=_object(requests=_TEXTS, limits=_TEXTS),
    env=_list(_object(("name", "value"), name={"type": "string", "pattern": "^[A-Z_]+$"}, value={"type": "string"})),
    volumeMounts=_list(_object(("name", "mountPath"), name=_TEXT, mountPath={"type": "string", "pattern": "^/"})),
    script={"type": "string", "pattern": "^#!"},
)
_TASK_SPEC = _object(
    ("steps",),
    params=_list(_PARAM_SPEC),
    workspaces=_list(_WORKSPACE),
    volumes=_list(_object(("name",), name=_TEXT, emptyDir={"type": "object", "maxProperties": 0})),
    steps=_list(_STEP),
)
_TASK = _object(
    ("name", "taskSpec"),
    name=_TEXT,
    timeout=_DURATION,
    params=_list(_PARAM),
    matrix=_object(include=_list(_object(("params",), name=_TEXT, params=_list(_PARAM)))),
    workspaces=_list(_object(("name",), name=_TEXT, workspace=_TEXT)),
    taskSpec=_TASK_SPEC,
)
_RUN = _object(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "tekton.dev/v1"},
    kind={"const": "PipelineRun"},
    metadata=_object(("generateName",), generateName={"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*)$"}),
    spec=_object(
        ("pipelineSpec",),
        params=_list(_PARAM),
        timeouts=_object((), **dict.fromkeys(("pipeline", "tasks", "finally"), _DURATION)),
        workspaces=_list(
            _object(
                ("name",),
                name=_TEXT,
                persistentVolumeClaim=_object(("claimName",), claimName=_TEXT),
                # k8s.io/api: core/v1/types.go, SecretVolumeSource.
                secret=_object(
                    ("secretName",),
                    secretName=_TEXT,
                    optional={"type": "boolean"},
                    items=_list(_object(("key", "path"), key=_TEXT, path=_TEXT)),
                ),
            )
        ),
        taskRunSpecs=_list(
            _object(("pipelineTaskName",), pipelineTaskName=_TEXT, podTemplate=_object(nodeSelector=_TEXTS))
        ),
        pipelineSpec=_object(
            ("tasks",),
            params=_list(_PARAM_SPEC),
            workspaces=_list(_WORKSPACE),
            tasks=_list(_TASK),
            **{"finally": _list(_TASK)},
        ),
    ),
)


def faults(run: dict[str, Any]) -> list[str]:
    """Return the faults of a PipelineRun: of its form, else of Tekton's further rules."""
    form = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(_RUN).iter_errors(run)]
    return form or list(_rules(run["spec"]))


def _rules(spec: dict[str, Any]) -> Iterator[str]:
    pipeline = spec["pipelineSpec"]
    tasks = [*pipeline["tasks"], *pipeline.get("finally", ())]
    names = [task["name"] for task in tasks]
    yield from _twice("task", names)
    yield from (f"{name} is no DNS label" for name in names if not _LABEL.fullmatch(name))
    given = _names(spec.get("params", ()))
    if missing := _names(pipeline.get("params", ())) - given:
        yield f"the run gives no {missing}"
    offered = _names(pipeline.get("workspaces", ()))
    if offered != _names(spec.get("workspaces", ())):
        yield "the workspaces of run and pipeline differ"
    for entry in spec.get("taskRunSpecs", ()):
        if entry["pipelineTaskName"] not in names:
            yield f"taskRunSpecs name {entry['pipelineTaskName']}, which is no task"
    times = {name: _seconds(text) for name, text in spec.get("timeouts", {}).items()}
    if times and times["tasks"] + times["finally"] > times["pipeline"]:
        yield "the timeouts of tasks and finally exceed that of the pipeline"
    for task in tasks:
        yield from (f"{task['name']}: {fault}" for fault in _task_rules(task, given, offered))


def _task_rules(task: dict[str, Any], given: set[str], offered: set[str]) -> Iterator[str]:
    spec, include = task["taskSpec"], task.get("matrix", {}).get("include", [])
    if len(include) > MOST_COMBINATIONS:
        yield f"{len(include)} combinations"
    plain = _names(task.get("params", ()))
    for entry in include:
        yield from _twice("param", [param["name"] for param in entry["params"]])
        if both := _names(entry["params"]) & plain:
            yield f"{both} are in matrix and params"
        if (plain | _names(entry["params"])) != _names(spec.get("params", ())):
            yield "the params given are not those of the taskSpec"
    if not include and plain != _names(spec.get("params", ())):
        yield "the params given are not those of the taskSpec"
    bound = {each["name"]: each.get("workspace", each["name"]) for each in task.get("workspaces", ())}
    if set(bound) != _names(spec.get("workspaces", ())) or not set(bound.values()) <= offered:
        yield "its workspaces are not those of the pipeline"
    volumes = _names(spec.get("volumes", ()))
    for param in task.get("params", ()):
        yield from _unknown(param["value"], {f"params.{name}" for name in given} | {"context.pipelineRun.name"})
    known = {f"params.{name}" for name in _names(spec.get("params", ()))}
    known |= {f"workspaces.{name}.path" for name in bound}
    for step in spec["steps"]:
        for text in (step["image"], *(each["value"] for each in step.get("env", ()))):
            yield from _unknown(text, known)
        if _VARIABLE.search(step.get("script", "")):
            yield "its script contains a variable, which a shell would run"
        if not {mount["name"] for mount in step.get("volumeMounts", ())} <= volumes:
            yield "it mounts a volume that is none of its own"


def _unknown(text: str, known: set[str]) -> Iterator[str]:
    yield from (f"$({name}) is not known there" for name in _VARIABLE.findall(text) if name not in known)


def _names(entries: Any) -> set[str]:
    return {entry["name"] for entry in entries}


def _twice(what: str, names: list[str]) -> Iterator[str]:
    yield from (f"{what} {name} is there twice" for name in sorted(set(names)) if names.count(name) > 1)


def _seconds(text: str) -> int:
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"([0-9]+)([hms])", text))
