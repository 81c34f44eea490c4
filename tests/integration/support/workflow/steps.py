"""Runs the jobs of a workflow of GitHub on this machine: their own commands, in order, each job in a checkout.

`uses:` steps are replaced by what they do as far as the workflow sees it: a clone, and copies of files to and from a
store. Commands run as GitHub runs them, in `bash -e` (docs.github.com, Workflow syntax, `steps[*].shell`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from tests.integration.support.workflow.expressions import as_text, condition, substituted


@dataclass
class Done:
    """A job that ran, or was skipped: its result as `needs` has it, and what its commands printed, by step."""

    name: str
    result: str
    outputs: dict[str, str] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    folder: Path | None = None


@dataclass
class Machine:
    """The place of a workflow's runs.

    Attributes:
        folder: for checkouts, artifacts and caches; these survive from one run to the next.
        origin: the repository, as git names it.
        branch: the branch that a run is about.
        variables: repository variables, as context `vars`.
        secrets: as context `secrets`.
        environment: of all commands; it wins over the workflow's own `env`, such as its profile.
        beside: how many jobs of a matrix run at a time.
        runs: how many runs there were.
    """

    folder: Path
    origin: str
    branch: str = "main"
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    beside: int = 2
    runs: int = 0

    def run(self, workflow: Path) -> dict[str, list[Done]]:
        """Run a workflow; return its jobs by id, several for a matrix."""
        stated = yaml.safe_load(workflow.read_text(encoding="utf-8"))
        shutil.rmtree(self.folder / "artifacts", ignore_errors=True)
        shutil.rmtree(self.folder / "jobs", ignore_errors=True)
        self.runs += 1
        done: dict[str, list[Done]] = {}
        for job_id in _in_order(stated["jobs"]):
            done[job_id] = self._job(stated, job_id, done)
        return done

    def _job(self, stated: Mapping[str, Any], job_id: str, done: Mapping[str, list[Done]]) -> list[Done]:
        job = stated["jobs"][job_id]
        needed = _needed(job)
        contexts = self._contexts()
        contexts["needs"] = {name: _as_needed(done[name]) for name in needed}
        contexts["env"] = {**_each(stated.get("env", {}), contexts), **self.environment}
        failed = any(each.result != "success" for name in needed for each in done[name])
        if not condition(job.get("if", ""), contexts, _status(failed)):
            return [Done(job_id, "skipped")]
        matrix = job.get("strategy", {}).get("matrix")
        if matrix is None:
            return [self._one(job, job_id, contexts, {})]
        text = matrix if isinstance(matrix, str) else ""
        include = _value(text, contexts)["include"]
        assert 0 < len(include) <= 256, f"GitHub generates no job, or refuses, with {len(include)} in a matrix"
        with ThreadPoolExecutor(self.beside) as pool:
            return [*pool.map(lambda entry: self._one(job, job_id, contexts, entry), include)]

    def _contexts(self) -> dict[str, Any]:
        github = {"run_id": str(1000 + self.runs), "run_attempt": "1", "ref_name": self.branch, "token": "a-token"}
        return {"github": github, "vars": self.variables, "secrets": self.secrets, "matrix": {}, "steps": {}}

    def _one(self, job: Mapping[str, Any], job_id: str, outer: Mapping[str, Any], matrix: Mapping[str, Any]) -> Done:
        name = "-".join([job_id, *([str(matrix["id"])] if "id" in matrix else [])])
        place = self.folder / "jobs" / name
        folder = place / "project"
        folder.mkdir(parents=True)
        contexts = {**outer, "matrix": matrix, "steps": {}}
        contexts["github"] = {**outer["github"], "workspace": str(folder)}
        contexts["env"] = {**outer["env"], **_each(job.get("env", {}), contexts), **self.environment}
        made = Done(name, "success", folder=folder)
        for number, step in enumerate(job["steps"]):
            functions = _status(bool(made.failed)) | {"hashFiles": lambda pattern: _first(folder, pattern)}
            if not condition(step.get("if", ""), contexts, functions):
                continue
            title = str(step.get("name") or step.get("uses") or number)
            environment = _each(step.get("env", {}), contexts)
            if "uses" in step:
                inputs = _each(step.get("with", {}), contexts)
                _USES[step["uses"].partition("@")[0]](self, folder, inputs)
                continue
            assert "${{" not in step["run"], f"{title}: an expression in a command is taken for shell"
            code, printed, outputs = self._command(place, folder, step["run"], {**contexts["env"], **environment})
            made.printed[title] = printed
            if "id" in step:
                contexts["steps"] = {**contexts["steps"], step["id"]: {"outputs": outputs}}
            if code and not step.get("continue-on-error"):
                made.failed.append(title)
        made.result = "failure" if made.failed else "success"
        made.outputs = _each(job.get("outputs", {}), contexts)
        return made

    def _command(
        self, place: Path, folder: Path, script: str, environment: Mapping[str, str]
    ) -> tuple[int, str, dict[str, str]]:
        output = place / "output"
        output.write_text("", encoding="utf-8")
        known = {"GITHUB_OUTPUT": str(output), "GITHUB_WORKSPACE": str(folder), "GITHUB_REF_NAME": self.branch}
        known["GITHUB_RUN_ATTEMPT"] = "1"
        command = ["bash", "-e", "-c", script]
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **environment, **known},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        lines = (line.partition("=") for line in output.read_text(encoding="utf-8").splitlines())
        return done.returncode, done.stdout, {key: value for key, _, value in lines}

    def checkout(self, folder: Path, inputs: Mapping[str, str]) -> None:
        """Clone the repository, as actions/checkout does: one commit, no credentials left in the folder."""
        assert inputs.get("persist-credentials") == "false"
        wanted = inputs.get("ref") or self.branch
        for arguments in (
            ("init", "--quiet"),
            ("remote", "add", "origin", self.origin),
            ("fetch", "--quiet", "--depth", "1", "origin", wanted),
            ("checkout", "--quiet", "FETCH_HEAD"),
        ):
            subprocess.run(["git", *arguments], cwd=folder, check=True)

    def upload(self, folder: Path, inputs: Mapping[str, str]) -> None:
        """Store an artifact, relative to the deepest folder that its paths have in common; hidden files if asked."""
        paths = inputs["path"].split()
        target = self.folder / "artifacts" / inputs["name"]
        shutil.rmtree(target, ignore_errors=True)
        root = Path(os.path.commonpath([folder / path for path in paths])) if len(paths) > 1 else folder
        for path in paths:
            hidden = inputs.get("include-hidden-files") == "true"
            _copy(folder / path, target / (folder / path).relative_to(root), "" if hidden else ".*")

    def upload_pages(self, folder: Path, inputs: Mapping[str, str]) -> None:
        """Store a folder as the artifact of a site, without hidden files (upload-pages-artifact, action.yml)."""
        target = self.folder / "artifacts" / inputs["name"]
        assert not target.exists(), f"deploy-pages refuses a second artifact {target.name}"
        _copy(folder / inputs["path"], target, ".*")

    def deploy_pages(self, _: Path, inputs: Mapping[str, str]) -> None:
        """Replace the site by an artifact of this run."""
        source = self.folder / "artifacts" / inputs["artifact_name"]
        assert (source / "index.html").is_file(), f"{source} is no site"
        shutil.rmtree(self.folder / "site", ignore_errors=True)
        _copy(source, self.folder / "site")

    def download(self, folder: Path, inputs: Mapping[str, str]) -> None:
        """Copy one artifact into a folder, or each that a pattern matches into a folder of its name."""
        target = folder / inputs.get("path", ".")
        if "name" in inputs:
            source = self.folder / "artifacts" / inputs["name"]
            assert source.is_dir(), f"there is no artifact {inputs['name']}"
            _copy(source, target)
            return
        for source in sorted((self.folder / "artifacts").iterdir()):
            if fnmatchcase(source.name, inputs["pattern"]):
                _copy(source, target / source.name)

    def save(self, folder: Path, inputs: Mapping[str, str]) -> None:
        """Store files under a key; a key that is taken stays as it is."""
        target = self.folder / "caches" / inputs["key"]
        if not target.exists():
            for path in inputs["path"].split():
                _copy(folder / path, target / path)

    def restore(self, folder: Path, inputs: Mapping[str, str]) -> None:
        """Copy the files of a key back, or those of the newest key with a given beginning."""
        caches = self.folder / "caches"
        names = {path.name: path.stat().st_mtime_ns for path in caches.iterdir()} if caches.is_dir() else {}
        begins = [name for name in names if name.startswith(inputs.get("restore-keys", "\0").strip())]
        found = inputs["key"] if inputs["key"] in names else max(begins, key=names.__getitem__, default="")
        if found:
            _copy(caches / found, folder)


_USES: dict[str, Callable[[Machine, Path, Mapping[str, str]], None]] = {
    "actions/checkout": Machine.checkout,
    "actions/upload-artifact": Machine.upload,
    "actions/download-artifact": Machine.download,
    "actions/upload-pages-artifact": Machine.upload_pages,
    "actions/deploy-pages": Machine.deploy_pages,
    "actions/cache/save": Machine.save,
    "actions/cache/restore": Machine.restore,
}


def _in_order(jobs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    left = dict(jobs)
    while left:
        ready = next(name for name, job in left.items() if not set(_needed(job)) & set(left))
        yield ready
        del left[ready]


def _needed(job: Mapping[str, Any]) -> list[str]:
    needs = job.get("needs", [])
    return [needs] if isinstance(needs, str) else needs


def _as_needed(jobs: list[Done]) -> dict[str, Any]:
    results = {job.result for job in jobs}
    result = next((each for each in ("failure", "success", "skipped") if each in results), "skipped")
    return {"result": result, "outputs": jobs[0].outputs}


def _status(failed: bool) -> dict[str, Callable[..., Any]]:
    return {
        "always": lambda: True,
        "cancelled": lambda: False,
        "failure": lambda: failed,
        "success": lambda: not failed,
    }


def _value(text: str, contexts: Mapping[str, Any]) -> Any:
    return yaml.safe_load(substituted(text, contexts, {}))


def _each(texts: Mapping[str, Any], contexts: Mapping[str, Any]) -> dict[str, str]:
    # YAML's `true` is the text `true` to an action.
    return {key: substituted(as_text(text), contexts, {}) for key, text in texts.items()}


def _first(folder: Path, pattern: str) -> str:
    return "a-digest" if any(folder.glob(pattern)) else ""


def _copy(source: Path, target: Path, without: str = "") -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(without))
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
