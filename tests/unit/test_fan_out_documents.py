"""`plan --format gitlab` and `tekton`: complete documents that GitLab and Tekton accept."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmatrix.decide.fan_out import Job, fan_out
from kmatrix.decide.fan_out_gitlab import gitlab_pipeline
from kmatrix.decide.fan_out_keys import NO_KEYS, JobKeys, job_keys
from kmatrix.decide.fan_out_tekton import tekton_run
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.values.errors import InputError
from kmatrix.values.names import BOOTED_ARCHES, Arch
from tests.unit.support.made_up_cells import made_up_cells
from tests.unit.support.projects import MATRIX
from tests.unit.support.tekton import faults

ROOT = Path(__file__).resolve().parents[2]
JOBS = fan_out(made_up_cells(2, 2, BOOTED_ARCHES))
MANY = fan_out(made_up_cells(5, 500, BOOTED_ARCHES))
# gitlab: lib/gitlab/ci/config/entry/job.rb, those that are used here.
KEYS = {
    "stage",
    "needs",
    "script",
    "after_script",
    "artifacts",
    "variables",
    "tags",
    "when",
    "environment",
    "id_tokens",
}
SIGNED = JobKeys("KMATRIX_IMAGE_KEY", "KMATRIX_MODULE_KEY")
Runners = dict[Arch, tuple[str, ...]]


def gitlab(jobs: tuple[Job, ...] = JOBS, runners: Runners | None = None, keys: JobKeys = NO_KEYS) -> dict[str, Any]:
    text = gitlab_pipeline(jobs, "ocp", "quay.io/team", "matrix.lock", runners or {}, keys)
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def tekton(jobs: tuple[Job, ...] = JOBS, runners: Runners | None = None, keys: JobKeys = NO_KEYS) -> dict[str, Any]:
    text = tekton_run(jobs, "ocp", "quay.io/team", "matrix.lock", runners or {}, keys)
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def jobs_of(pipeline: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: job for name, job in pipeline.items() if name not in ("stages", "variables")}


@pytest.mark.parametrize("jobs", [JOBS, MANY, ()], ids=len)
def test_a_pipeline_of_gitlab_has_jobs_of_known_keys_in_stages_that_exist(jobs: tuple[Job, ...]) -> None:
    pipeline = gitlab(jobs)
    found = jobs_of(pipeline)
    assert len(found) == len(jobs) + 2
    for name, job in found.items():
        assert set(job) <= KEYS, name
        assert job["stage"] in pipeline["stages"], name
        assert len(name) <= 255
    assert list(found) == ["lock", *(f"build {job.id}" for job in jobs), "publish"]


def test_every_cell_is_built_by_one_job_of_gitlab_and_its_results_have_a_folder_of_their_own() -> None:
    """Artifacts of several jobs are unpacked into one folder, where files of one name would replace each other."""
    builds = [job for name, job in jobs_of(gitlab()).items() if name.startswith("build ")]
    cells = [cell for job in builds for cell in job["variables"]["CELLS"].split()]
    assert sorted(cells) == sorted(cell for job in JOBS for cell in job.cells)
    assert len({job["variables"]["SHARD"] for job in builds}) == len(builds)
    for job in builds:
        assert job["artifacts"]["paths"] == ["shards/"]
        assert job["artifacts"]["when"] == "always"
        assert "needs" not in job, "a job with `needs` gets the artifacts of those alone, and may have 50"


def test_the_lock_comes_from_the_parent_and_is_passed_on() -> None:
    lock = gitlab()["lock"]
    assert lock["needs"] == [{"pipeline": "$PARENT_PIPELINE_ID", "job": "discover", "artifacts": True}]
    assert lock["artifacts"]["paths"] == ["matrix.lock"]


def test_the_last_job_of_gitlab_runs_after_failures_too() -> None:
    publish = gitlab()["publish"]
    assert publish["when"] == "always"
    names = re.findall(r"nox -s (\S+)", "\n".join(publish["script"]))
    assert names == ["merge", "bundle", "manifests", "report"]
    assert gitlab(())["publish"]["script"] == publish["script"], "published cells are reported without any job too"


def test_runners_have_tags_only_if_they_are_given() -> None:
    assert not [job for job in jobs_of(gitlab()).values() if "tags" in job]
    tagged = jobs_of(gitlab(runners={"aarch64": ("arm", "big")}))
    assert {name for name, job in tagged.items() if job.get("tags") == ["arm", "big"]} == {
        f"build {job.id}" for job in JOBS if job.arch == "aarch64"
    }


def run_script(folder: Path, lines: list[str], **environment: str) -> int:
    """Run the lines of a job as GitLab's runner does, in one shell that ends at the first failure."""
    scripts = folder / "scripts"
    scripts.mkdir(parents=True, exist_ok=True)
    (scripts / "bootstrap").write_text('#!/bin/sh\nprintf "%s\\n" "$*" >>said\nexit "${END:-0}"\n', encoding="utf-8")
    (scripts / "bootstrap").chmod(0o755)
    command = ["bash", "-c", "set -eo pipefail\n" + "\n".join(lines)]
    return subprocess.run(command, cwd=folder, env={"PATH": "/usr/bin:/bin", **environment}, check=False).returncode


def test_the_commands_of_gitlab_do_what_is_meant(tmp_path: Path) -> None:
    pipeline = gitlab()
    build = pipeline["build 001"]
    assert run_script(tmp_path, build["script"], END="1", **build["variables"]) == 1
    only = f"nox -s build -- --only {build['variables']['CELLS']}\n"
    assert (tmp_path / "said").read_text(encoding="utf-8") == only
    (tmp_path / "build" / "logs").mkdir(parents=True)
    (tmp_path / "build" / "results.json").write_text("{}", encoding="utf-8")
    assert run_script(tmp_path, build["after_script"], **build["variables"]) == 0
    assert {path.name for path in (tmp_path / "shards" / "001").iterdir()} == {"results.json", "logs"}
    (tmp_path / "said").unlink()
    write = 'mkdir -p build && echo "{}" >build/results.json'
    assert run_script(tmp_path, [write, *pipeline["publish"]["script"]], END="3") == 3
    assert len((tmp_path / "said").read_text(encoding="utf-8").splitlines()) == 4, "each runs, whatever the others do"


@pytest.mark.parametrize(("lock", "emulated"), [("arch: aarch64\n", True), ("arch: x86_64\n", False), (None, False)])
def test_the_last_job_of_gitlab_can_boot_bundles_of_aarch64(tmp_path: Path, lock: str | None, emulated: bool) -> None:
    if lock:
        (tmp_path / "matrix.lock").write_text(lock, encoding="utf-8")
    assert run_script(tmp_path, gitlab()["publish"]["script"]) == 0
    said = (tmp_path / "said").read_text(encoding="utf-8").splitlines()
    assert said == [
        "nox -s merge -- shards --published",
        *(["--arch aarch64"] if emulated else []),
        "nox -s bundle",
        "nox -s manifests",
    ]


@pytest.mark.parametrize(
    ("keys", "environments"),
    [
        (NO_KEYS, {}),
        (JobKeys(image="K"), {"build": "kmatrix/build", "publish": "kmatrix/publish"}),
        (JobKeys(next_image="K"), {"build": "kmatrix/build", "publish": "kmatrix/publish"}),
        (JobKeys(module="K"), {"build": "kmatrix/build"}),
        (SIGNED, {"build": "kmatrix/build", "publish": "kmatrix/publish"}),
    ],
    ids=["nothing is signed", "images", "images soon", "modules", "both"],
)
def test_jobs_of_gitlab_have_the_environment_whose_keys_they_need(keys: JobKeys, environments: dict[str, str]) -> None:
    jobs = jobs_of(gitlab(keys=keys))
    found = {name.partition(" ")[0]: job["environment"] for name, job in jobs.items() if "environment" in job}
    assert found == {name: {"name": stated, "action": "access"} for name, stated in environments.items()}
    if found:
        assert all("environment" in job for name, job in jobs.items() if name.startswith("build "))


def test_jobs_of_gitlab_that_sign_have_an_identity_only_where_the_profile_asks_for_keyless_signatures() -> None:
    def with_identity(keys: JobKeys) -> set[str]:
        jobs = jobs_of(gitlab(keys=keys))
        token = {"SIGSTORE_ID_TOKEN": {"aud": "sigstore"}}
        return {name.partition(" ")[0] for name, job in jobs.items() if job.get("id_tokens") == token}

    assert with_identity(SIGNED) == set()
    assert with_identity(JobKeys(keyless=True)) == {"build", "publish"}


@pytest.mark.parametrize("keys", [NO_KEYS, SIGNED], ids=["unsigned", "signed"])
@pytest.mark.parametrize("jobs", [JOBS, MANY, ()], ids=len)
def test_a_run_for_tekton_has_no_fault(jobs: tuple[Job, ...], keys: JobKeys) -> None:
    assert faults(tekton(jobs, keys=keys)) == []


def test_every_cell_is_built_by_one_taskrun_on_a_node_of_its_architecture() -> None:
    spec = tekton()["spec"]
    nodes = {each["pipelineTaskName"]: each["podTemplate"]["nodeSelector"] for each in spec["taskRunSpecs"]}
    found: list[tuple[str, str]] = []
    for task in spec["pipelineSpec"]["tasks"]:
        for entry in task["matrix"]["include"]:
            values = {param["name"]: param["value"] for param in entry["params"]}
            found += [(cell, nodes[task["name"]]["kubernetes.io/arch"]) for cell in values["cells"].split()]
    go = {"x86_64": "amd64", "aarch64": "arm64"}
    assert sorted(found) == sorted((cell, go[job.arch]) for job in JOBS for cell in job.cells)


def test_pods_wait_for_room_on_a_node_as_long_as_the_run_may_take() -> None:
    """Tekton starts every TaskRun of a matrix at once; pods that request nothing all share the same few nodes."""
    spec = tekton(MANY)["spec"]
    for task in spec["pipelineSpec"]["tasks"]:
        (step,) = task["taskSpec"]["steps"]
        assert set(step["computeResources"]["requests"]) == {"cpu", "memory"}
        assert task["timeout"] == spec["timeouts"]["tasks"]


def test_a_run_without_cells_composes_bundles_and_manifests() -> None:
    (task,) = tekton(())["spec"]["pipelineSpec"]["tasks"]
    assert task["name"] == "publish"
    assert "finally" not in tekton(())["spec"]["pipelineSpec"]


def test_nodes_may_need_further_labels() -> None:
    spec = tekton(runners={"aarch64": ("pool=build",)})["spec"]
    nodes = {each["pipelineTaskName"]: each["podTemplate"]["nodeSelector"] for each in spec["taskRunSpecs"]}
    assert nodes["build-aarch64"] == {"kubernetes.io/arch": "arm64", "pool": "build"}
    with pytest.raises(InputError, match="label of nodes"):
        tekton(runners={"aarch64": ("build",)})


def _first(run: dict[str, Any]) -> dict[str, Any]:
    task: dict[str, Any] = run["spec"]["pipelineSpec"]["tasks"][0]
    return task


BREAKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "an unknown field": lambda run: run["spec"].update(pipelineRef={"name": "x"}, nonsense=1),
    "too many": lambda run: _first(run)["matrix"].update(include=_first(run)["matrix"]["include"] * 150),
    "a list": lambda run: _first(run)["matrix"]["include"][0]["params"][0].update(value=["a"]),
    "twice": lambda run: _first(run)["params"].append({"name": "shard", "value": "x"}),
    "a name": lambda run: _first(run).update(name="build_x86_64"),
    "no workspace": lambda run: run["spec"]["workspaces"].pop(),
    "no such task": lambda run: run["spec"]["taskRunSpecs"][0].update(pipelineTaskName="x"),
    "a variable in a script": lambda run: _first(run)["taskSpec"]["steps"][0].update(script="#!/bin/sh\n$(params.run)"),
    "an unknown variable": lambda run: _first(run)["taskSpec"]["steps"][0].update(image="$(params.nothing)"),
    "times": lambda run: run["spec"]["timeouts"].update(pipeline="1h0m0s"),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_a_fault_of_a_run_is_found(broken: str) -> None:
    run = deepcopy(tekton())
    BREAKS[broken](run)
    assert faults(run)


@pytest.mark.parametrize("name", ["build-x86-64", "publish"])
def test_the_scripts_for_tekton_do_what_is_meant(tmp_path: Path, name: str) -> None:
    spec = tekton()["spec"]["pipelineSpec"]
    (task,) = [task for task in [*spec["tasks"], *spec["finally"]] if task["name"] == name]
    script = task["taskSpec"]["steps"][0]["script"]
    source, work = tmp_path / "source", tmp_path / "work"
    assert "| tar -x --no-same-owner\n" in script, "git refuses a checkout of another user, and images name no revision"
    run_script(source, ["true"])
    (source / "shards" / "run-1").mkdir(parents=True)
    (source / "build").mkdir()
    (source / "matrix.lock").write_text("{}", encoding="utf-8")
    (work / "build" / "logs").mkdir(parents=True)
    (work / "build" / "results.json").write_text("{}", encoding="utf-8")
    environment = {"SOURCE": str(source), "RUN": "run-1", "SHARD": "001", "CELLS": "a b", "END": "1"}
    command = ["bash", "-c", script]
    done = subprocess.run(command, cwd=work, env={"PATH": "/usr/bin:/bin", **environment}, check=False)
    assert done.returncode == 1
    assert (work / "matrix.lock").exists()
    assert not (work / "shards").exists()
    said = (work / "said").read_text(encoding="utf-8").splitlines()
    if name == "publish":
        assert [shlex.split(line)[2] for line in said] == ["merge", "bundle", "manifests", "report"]
        assert (source / "shards" / "run-1" / "results.json").exists()
    else:
        assert said == ["nox -s build -- --only a b"]
        assert (source / "shards" / "run-1" / "001" / "results.json").exists()


# Prints which of the keys and passwords a command has.
REPORTER = """#!/bin/sh
echo "$3 $(env | sed -n 's/^KMATRIX_\\([A-Z]*_KEY[A-Z_]*\\)=/\\1=/p' | sort | tr '\\n' ' ')" >>said
"""


@pytest.mark.parametrize("encrypted", [True, False])
def test_the_command_that_signs_has_the_keys_in_tekton_and_no_other(tmp_path: Path, encrypted: bool) -> None:
    spec = tekton(keys=replace(SIGNED, next_image="KMATRIX_IMAGE_KEY_NEXT"))["spec"]
    files = {each["name"]: each["secret"] for each in spec["workspaces"] if each["name"].endswith("-keys")}
    assert {each["secretName"] for each in files.values()} == {"kmatrix-keys"}
    for workspace, secret in files.items():
        (tmp_path / workspace).mkdir()
        for item in secret["items"]:
            if encrypted or "password" not in item["key"]:
                # Secrets that were written by hand have a line end, and others have none.
                end = "\n" if workspace == "image-keys" else ""
                (tmp_path / workspace / item["path"]).write_text(f"the {item['key']}{end}", encoding="utf-8")
    said: dict[str, str] = {}
    for task in [*spec["pipelineSpec"]["tasks"], *spec["pipelineSpec"]["finally"]]:
        work, source = tmp_path / task["name"], tmp_path / "source"
        (work / "build").mkdir(parents=True)
        (source / "scripts").mkdir(parents=True, exist_ok=True)
        (source / "scripts" / "bootstrap").write_text(REPORTER, encoding="utf-8")
        (source / "scripts" / "bootstrap").chmod(0o755)
        (step,) = task["taskSpec"]["steps"]
        places = {
            each["name"]: str(tmp_path / each["value"].removeprefix("$(workspaces.").removesuffix(".path)"))
            for each in step["env"]
            if each["value"].endswith("-keys.path)")
        }
        environment = {"SOURCE": str(source), "RUN": "r", "SHARD": "001", "CELLS": "a", "PATH": "/usr/bin:/bin"}
        subprocess.run(["bash", "-c", step["script"]], cwd=work, env={**environment, **places}, check=True)
        lines = (work / "said").read_text(encoding="utf-8").splitlines()
        said |= {command: keys.strip() for command, _, keys in (line.partition(" ") for line in lines)}
    image = f"IMAGE_KEY={tmp_path}/image-keys/image-key"
    module = f"MODULE_KEY={tmp_path}/module-keys/module-key"
    following = f" IMAGE_KEY_NEXT={tmp_path}/next-image-keys/next-image-key"
    if encrypted:
        image += f"{following} IMAGE_KEY_NEXT_PASSWORD=the next-image-key-password"
        image += " IMAGE_KEY_PASSWORD=the image-key-password"
        module += " MODULE_KEY_PASSWORD=the module-key-password"
    else:
        image += following
    assert said == {"build": f"{image} {module}", "merge": "", "bundle": image, "manifests": ""}


def test_the_variables_of_a_profile_are_those_that_its_jobs_need() -> None:
    stated = yaml.safe_load(MATRIX)
    profile = stated["profiles"][stated["default_profile"]]
    profile["image_signing"] = {"key": "env:ONE", "public_keys": ["keys/images.pub"]}
    profile["module_signing"] = {"key": "file:keys/modules.key", "certificate": "keys/modules.pem"}
    found = read_matrix(yaml.safe_dump(stated)).profile(stated["default_profile"])
    assert job_keys(found) == JobKeys(image="ONE")
    profile["image_signing"]["next_key"] = "env:TWO"
    found = read_matrix(yaml.safe_dump(stated)).profile(stated["default_profile"])
    assert job_keys(found) == JobKeys(image="ONE", next_image="TWO")
    profile["image_signing"] = {"keyless": True}
    found = read_matrix(yaml.safe_dump(stated)).profile(stated["default_profile"])
    assert job_keys(found) == JobKeys(keyless=True)
    assert job_keys(read_matrix(MATRIX).profile(stated["default_profile"])) == NO_KEYS


def test_documents_that_are_too_large_are_refused() -> None:
    jobs = fan_out(made_up_cells(20, 1500))
    with pytest.raises(InputError, match="GitLab reads at most"):
        gitlab(jobs)
    with pytest.raises(InputError, match="room for"):
        tekton(jobs)


@pytest.mark.parametrize("write", [gitlab_pipeline, tekton_run], ids=["gitlab", "tekton"])
def test_the_same_jobs_give_the_same_text(write: Callable[..., str]) -> None:
    texts = {write(fan_out(made_up_cells(2, 2)), "ocp", "quay.io/team", "matrix.lock", {}) for _ in range(2)}
    assert len(texts) == 1


def test_the_parent_pipeline_of_the_documentation_fits_the_child() -> None:
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    parent = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    (needed,) = gitlab()["lock"]["needs"]
    assert needed["pipeline"] == "$" + next(iter(parent["cells"]["variables"]))
    job = parent[needed["job"]]
    assert gitlab()["lock"]["artifacts"]["paths"][0] in job["artifacts"]["paths"]
    (include,) = parent["cells"]["trigger"]["include"]
    assert include["artifact"] in job["artifacts"]["paths"]
    assert include["job"] == needed["job"]


@pytest.mark.parametrize(("end", "code"), [(0, 0), (3, 0), (4, 0), (1, 1), (2, 2)])
def test_the_parent_pipeline_goes_on_with_unresolved_releases(tmp_path: Path, end: int, code: int) -> None:
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    parent = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    (tmp_path / "matrix.lock").write_text("{}", encoding="utf-8")
    assert run_script(tmp_path, parent["discover"]["script"][:3], END=str(end)) == code
