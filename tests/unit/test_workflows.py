"""Workflows run on tested parts: a runner image of one version, actions by digest, engines that are named."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmatrix.decide.fan_out import HOSTED
from kmatrix.decide.report import document
from kmatrix.effects.disk import bundles, results
from kmatrix.effects.disk.folders import MARK
from kmatrix.values.names import BOOTED_ARCHES

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
# A label with its version: `ubuntu-latest` is another image, and another engine, from one day to the next.
PINNED = re.compile(r"ubuntu-\d\d\.\d\d(-arm)?")
# The jobs of a matrix have theirs from `plan --format github`.
OF_MATRIX = "${{ matrix.runner }}"
ENGINES = "Docker 20.10 and Docker 28 or newer with the containerd image store"


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return found


def unpinned_runners(path: Path) -> list[str]:
    labels = {name: str(job.get("runs-on")) for name, job in jobs(path).items()}
    return [name for name, label in labels.items() if label != OF_MATRIX and not PINNED.fullmatch(label)]


def test_there_are_workflows() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "publish.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_job_names_the_version_of_its_runner_image(path: Path) -> None:
    assert unpinned_runners(path) == []


def test_the_runners_of_a_matrix_have_their_versions() -> None:
    assert [label for label in HOSTED.values() if not PINNED.fullmatch(label)] == []
    assert set(HOSTED) == set(BOOTED_ARCHES)


@pytest.mark.parametrize("label", ["ubuntu-latest", "[self-hosted]", "${{ matrix.os }}", "ubuntu-24"])
def test_a_runner_without_a_version_is_found(tmp_path: Path, label: str) -> None:
    path = tmp_path / "x.yml"
    path.write_text(f"jobs:\n  a:\n    runs-on: {label}\n", encoding="utf-8")
    assert unpinned_runners(path) == ["a"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_taken_by_its_commit(path: Path) -> None:
    used = [step["uses"] for job in jobs(path).values() for step in job["steps"] if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)] == []


@pytest.mark.parametrize("path", [*WORKFLOWS, ROOT / "README.md"], ids=lambda path: path.name)
def test_the_engines_that_were_tested_are_named(path: Path) -> None:
    words = re.sub(r"\s+", " ", re.sub(r"(?m)^ *#", "", path.read_text(encoding="utf-8")))
    assert ENGINES in words


def publish_jobs() -> dict[str, dict[str, Any]]:
    return jobs(ROOT / ".github" / "workflows" / "publish.yml")


def test_one_job_alone_may_write_to_the_repository_and_runs_nothing_but_git() -> None:
    found = publish_jobs()
    allowed = {name: job["permissions"] for name, job in found.items()}
    # That of the site has no checkout, and may do nothing but deploy.
    assert allowed.pop("pages") == {"pages": "write", "id-token": "write"}
    assert [step["uses"].partition("@")[0] for step in found["pages"]["steps"]] == ["actions/deploy-pages"]
    assert allowed == {name: {"contents": "write" if name == "commit" else "read"} for name in allowed}
    commands = [step["run"] for step in found["commit"]["steps"] if "run" in step]
    assert [command.split()[0] for command in commands] == ["rm", ".ci/commit-lock"]
    with_token = [(name, step["name"]) for name, job in found.items() for step in job["steps"] if "token" in str(step)]
    assert with_token == [("commit", "Commit")]


def test_only_jobs_that_need_the_pull_secret_have_it_and_each_is_in_the_environment() -> None:
    found = publish_jobs()
    assert {name for name, job in found.items() if "secrets." in str(job)} == {"discover", "build", "publish"}
    for name, job in found.items():
        steps = [step for step in job["steps"] if "secrets." in str(step)]
        assert all("secrets." not in str({**step, "env": {}}) for step in steps), name
        pulling = [step for step in steps if "PULL_SECRET" in step["env"]]
        assert all(set(step["env"]) == {"PULL_SECRET"} for step in pulling), name
        assert (job.get("environment") == "publish") == bool(pulling), name
    assert "secrets." not in str([{key: job.get(key) for key in ("outputs", "env", "with")} for job in found.values()])


IMAGE_KEY = {f"KMATRIX_IMAGE_KEY{each}" for each in ("", "_PASSWORD", "_NEXT", "_NEXT_PASSWORD")}
MODULE_KEY = {"KMATRIX_MODULE_KEY", "KMATRIX_MODULE_KEY_PASSWORD"}


def test_the_steps_that_sign_have_the_keys_and_no_other_step_has_one() -> None:
    found: dict[str, set[str]] = {}
    for job in publish_jobs().values():
        for step in job["steps"]:
            names = {name for name, value in step.get("env", {}).items() if "secrets." in value}
            if "_KEY" in str(step):
                found[step["name"]] = names
                stated = {name: step["env"][name] for name in names}
                assert stated == {name: f"${{{{ secrets.{name.removeprefix('KMATRIX_')} }}}}" for name in names}
    assert found == {"Build, check, boot and push": IMAGE_KEY | MODULE_KEY, "Bundle": IMAGE_KEY}


def test_tests_of_pull_requests_have_no_secret_and_no_identity() -> None:
    for path in WORKFLOWS:
        stated = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert "pull_request_target" not in stated[True]
        assert "workflow_run" not in stated[True]
        if "pull_request" in stated[True]:
            assert "secrets." not in path.read_text(encoding="utf-8"), path.name
        # An identity is for signatures without a key, which a profile has to ask for, and for the deployment of a site.
        others = [job.get("permissions") for name, job in jobs(path).items() if name != "pages"]
        assert "id-token" not in str([stated.get("permissions"), *others])


def test_nothing_in_a_run_or_a_matrix_reaches_a_shell_as_code() -> None:
    steps = [step for job in publish_jobs().values() for step in job["steps"] if "run" in step]
    assert [step["run"] for step in steps if "${{" in step["run"]] == []


def test_a_run_begins_with_the_branch_as_it_is_and_all_its_jobs_have_one_commit() -> None:
    """A run that waited for another one would otherwise begin with an older lock than that one left."""
    refs = {
        name: step["with"]["ref"]
        for name, job in publish_jobs().items()
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/checkout@")
    }
    sha = "${{ needs.discover.outputs.sha }}"
    assert refs == {"discover": "${{ github.ref_name }}", "commit": sha, "build": sha, "publish": sha}


def test_runs_wait_for_each_other_and_a_commit_starts_none() -> None:
    text = (ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8")
    stated = yaml.safe_load(text)
    assert stated["concurrency"] == {"group": "publish", "cancel-in-progress": False}
    # YAML 1.1 reads the key `on` as a truth value.
    assert set(stated[True]) == {"schedule", "workflow_dispatch"}


def test_tests_of_aarch64_run_every_week_in_a_job_of_their_own_that_no_push_cancels() -> None:
    path = ROOT / ".github" / "workflows" / "ci.yml"
    stated = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(stated[True]) == {"push", "pull_request", "schedule", "workflow_dispatch"}
    assert "${{ github.event_name }}" in stated["concurrency"]["group"]
    job = stated["jobs"]["aarch64"]
    assert job["if"] == "github.event_name == 'schedule' || github.event_name == 'workflow_dispatch'"
    # The lab bootstraps Debian as root: GitHub's image lets its user have no user namespaces.
    command = "sudo ./scripts/bootstrap --arch aarch64 nox -s tests -- --arch aarch64"
    assert command in [step.get("run") for step in job["steps"]]


def test_kept_results_are_those_of_the_present_schemas() -> None:
    steps = [step for step in publish_jobs()["publish"]["steps"] if "actions/cache/" in step.get("uses", "")]
    results_begin, report_begin = f"results-{results.SCHEMA}-{bundles.SCHEMA}-", f"report-{document.SCHEMA}-"
    for begin, path in ((results_begin, "build/results.json"), (report_begin, "build/report/index.json")):
        own = [step["with"] for step in steps if path in step["with"]["path"]]
        assert [each["key"].startswith(begin) for each in own] == [True, True], f"write {begin} there"
        assert [each["restore-keys"] for each in own if "restore-keys" in each] == [begin]
        assert len({each["path"] for each in own}) == 1, "a cache of other paths is another cache"
    assert MARK in str(steps), "without it the folder is not this program's to replace"


class Repository:
    """A repository, and checkouts of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.origin = folder, folder / "origin.git"
        first = folder / "first"
        (first / ".ci").mkdir(parents=True)
        shutil.copy2(ROOT / ".ci" / "commit-lock", first / ".ci")
        self.git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.origin))
        self.git(first, "init", "--quiet", "--initial-branch=main")
        self.commit(first, {"code": "1\n", "dockerfiles/okd/x/Dockerfile": "okd\n"})

    def git(self, where: Path, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True, text=True)
        return done.stdout

    def commit(self, checkout: Path, files: dict[str, str]) -> None:
        """Commit as a person does, and push."""
        write(checkout, files)
        self.git(checkout, "add", ".")
        self.git(checkout, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "-m", "m")
        self.git(checkout, "push", "--quiet", str(self.origin), "main")

    def checkout(self, name: str, files: dict[str, str]) -> Path:
        """Return a fresh checkout, as a job has one, with other content in some files."""
        path = self.folder / name
        self.git(self.folder, "clone", "--quiet", "--depth", "1", self.origin.as_uri(), str(path))
        write(path, files)
        return path

    def run(self, checkout: Path) -> subprocess.CompletedProcess[str]:
        command = [str(checkout / ".ci" / "commit-lock"), "ocp", "main"]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    def files(self) -> dict[str, str]:
        names = self.git(self.origin, "ls-tree", "-r", "--name-only", "main").split()
        return {name: self.git(self.origin, "show", f"main:{name}") for name in names if name != ".ci/commit-lock"}

    @property
    def commits(self) -> int:
        return int(self.git(self.origin, "rev-list", "--count", "main"))


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


BEFORE = {"code": "1\n", "dockerfiles/okd/x/Dockerfile": "okd\n"}
PINS = {"matrix.lock": "one\n", "dockerfiles/ocp/a/Dockerfile": "a\n"}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with one commit."""
    return Repository(tmp_path)


def test_the_lock_and_the_dockerfiles_of_the_profile_alone_are_committed(repository: Repository) -> None:
    others = {"code": "changed\n", "dockerfiles/okd/x/Dockerfile": "changed\n", "build/results.json": "{}\n"}
    done = repository.run(repository.checkout("one", {**PINS, **others}))
    assert done.returncode == 0, done.stderr
    assert repository.files() == {**BEFORE, **PINS}
    assert "[skip ci]" in repository.git(repository.origin, "log", "-1", "--format=%B", "main")


def test_dockerfiles_that_are_gone_are_removed(repository: Repository) -> None:
    repository.run(repository.checkout("one", PINS))
    two = repository.checkout("two", {"matrix.lock": "two\n"})
    shutil.rmtree(two / "dockerfiles" / "ocp")
    assert repository.run(two).returncode == 0
    assert repository.files() == {**BEFORE, "matrix.lock": "two\n"}


def test_nothing_new_is_no_commit(repository: Repository) -> None:
    repository.run(repository.checkout("one", PINS))
    assert "did not change" in repository.run(repository.checkout("two", PINS)).stdout
    assert repository.commits == 2


def test_commits_that_others_pushed_meanwhile_stay(repository: Repository) -> None:
    one = repository.checkout("one", PINS)
    repository.commit(repository.folder / "first", {"code": "2\n"})
    done = repository.run(one)
    assert done.returncode == 0, done.stderr
    assert repository.files() == {**BEFORE, **PINS, "code": "2\n"}


def test_a_commit_between_fetch_and_push_stays_too(repository: Repository) -> None:
    """The branch moves at the moment of the push, once; git's own hook shows that moment."""
    one = repository.checkout("one", PINS)
    write(repository.folder / "first", {"code": "2\n"})
    repository.git(repository.folder / "first", "-c", "user.name=n", "-c", "user.email=e", "commit", "-qam", "m")
    first = repository.folder / "first"
    moved = repository.folder / "moved"
    hook = one / ".git" / "hooks" / "pre-push"
    push = f"env -u GIT_DIR -u GIT_INDEX_FILE git -C {first} push --quiet {repository.origin} main"
    hook.write_text(f"#!/bin/sh\n[ -e {moved} ] || {{ touch {moved}; {push}; }}\n", encoding="utf-8")
    hook.chmod(0o755)
    done = repository.run(one)
    assert done.returncode == 0, done.stderr
    assert moved.exists()
    assert repository.files() == {**BEFORE, **PINS, "code": "2\n"}


def test_a_lock_that_others_changed_meanwhile_is_not_overwritten(repository: Repository) -> None:
    one = repository.checkout("one", PINS)
    repository.commit(repository.folder / "first", {"matrix.lock": "another\n"})
    done = repository.run(one)
    assert (done.returncode, "changed on main since" in done.stderr) == (1, True), done.stderr
    assert repository.files()["matrix.lock"] == "another\n"


def test_a_push_that_is_refused_is_an_error(repository: Repository) -> None:
    one = repository.checkout("one", PINS)
    hook = repository.origin / "hooks" / "update"
    hook.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    done = repository.run(one)
    assert (done.returncode, "was refused" in done.stderr) == (1, True), done.stderr


def test_a_branch_that_cannot_be_fetched_is_an_error(repository: Repository) -> None:
    one = repository.checkout("one", PINS)
    repository.origin.rename(repository.folder / "away")
    done = repository.run(one)
    assert (done.returncode, "could not be fetched" in done.stderr) == (1, True), done.stderr


def test_without_a_lock_there_is_nothing_to_commit(repository: Repository) -> None:
    done = repository.run(repository.checkout("one", {"matrix.lock": ""}))
    assert (done.returncode, "there is no matrix.lock" in done.stderr) == (1, True), done.stderr


def test_the_checkout_itself_is_not_touched(repository: Repository) -> None:
    one = repository.checkout("one", {**PINS, "code": "mine\n"})
    before = repository.git(one, "status", "--short")
    repository.run(one)
    assert repository.git(one, "status", "--short") == before


def test_every_job_that_boots_may_use_kvm() -> None:
    """GitHub's runner image keeps /dev/kvm from the runner's user; without it every boot is emulated."""
    booting = ("nox -s build", "nox -s bundle", ".ci/run")
    found = []
    for path in WORKFLOWS:
        for name, job in jobs(path).items():
            commands = [str(step.get("run", "")) for step in job["steps"]]
            first = next((i for i, each in enumerate(commands) if any(word in each for word in booting)), None)
            if first is not None:
                found.append(name)
                assert any("chmod 0666 /dev/kvm" in each for each in commands[:first]), f"{path.name}: {name}"
    assert found == ["lint-and-tests", "build", "publish"]
