"""The steps of publish.yml, run in order with commands that only pretend: what goes on after which failure.

tests/integration/pipeline/test_publish_workflow.py runs the same steps with the real commands.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from kmatrix.decide.fan_out import fan_out, github_matrix
from tests.integration.support.workflow.steps import Done, Machine
from tests.unit.support.made_up_cells import made_up_cells

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "publish.yml"
IMAGE_KEYS = ("IMAGE_KEY", "IMAGE_KEY_PASSWORD", "IMAGE_KEY_NEXT", "IMAGE_KEY_NEXT_PASSWORD")
KEYS = (*IMAGE_KEYS, "MODULE_KEY", "MODULE_KEY_PASSWORD")
SECRET = '{"auths":{"quay.io":{"auth":"s3cret"}}}'
JOBS = fan_out(made_up_cells(2, 2))
# Without Pages, the report is an artifact alone.
ALL_WELL = {name: {"success"} for name in ("discover", "commit", "build", "publish")} | {"pages": {"skipped"}}
# Pretends to be every command; `ends` has exit codes, `matrix` the answer of plan. PLACE is where they are.
PRETENDER = """#!/usr/bin/env bash
set -eu
if [ "$1" = --arch ]; then command=arch; else shift 2; command=$1; fi
shift
echo "$command $*" >>said
[ -z "${KMATRIX_AUTHFILE:-}" ] || [ "$(cat "$KMATRIX_AUTHFILE")" = "$(cat "$PLACE/secret")" ]
for key in IMAGE_KEY IMAGE_KEY_PASSWORD IMAGE_KEY_NEXT IMAGE_KEY_NEXT_PASSWORD MODULE_KEY MODULE_KEY_PASSWORD; do
  name=KMATRIX_$key
  if [ -n "${!name:-}" ]; then echo "$command $key ${!name}" >>"$PLACE/keys"; fi
done
mkdir -p build/cache build/logs
case $command in
  discover) cp "$PLACE/lock" matrix.lock ;;
  plan) cat "$PLACE/matrix" ;;
  render) rm -rf dockerfiles/ocp; mkdir -p "dockerfiles/ocp/$(cat matrix.lock)"
    cp matrix.lock "dockerfiles/ocp/$(cat matrix.lock)/Dockerfile" ;;
  build) test -s matrix.lock; echo "$*" >build/results.json; echo "$*" >build/logs/cell.log ;;
  merge) for each in "$2"/*/results.json; do if [ -e "$each" ]; then cat "$each" >>build/results.json; fi; done ;;
  bundle) echo bundles >build/bundles.json ;;
  manifests) mkdir -p build/deploy/ocp; echo a mark >build/deploy/ocp/.written-by-kmatrix ;;
  arch) ;;
  report) mkdir -p build/report
    if [ -e build/report/index.json ]; then cat build/report/.written-by-kmatrix build/report/index.json >before; fi
    rm -rf build/report; mkdir build/report
    for each in index.html index.json .written-by-kmatrix; do
      echo "$each of $(cat matrix.lock)" >"build/report/$each"
    done ;;
  *) exit 99 ;;
esac
if [ -e "$PLACE/ends-$command" ]; then exit "$(cat "$PLACE/ends-$command")"; fi
"""


def git(where: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True, text=True).stdout


@dataclass
class Project:
    """A repository with the workflow, and a machine that runs it."""

    folder: Path
    machine: Machine

    def ends(self, command: str, code: int) -> None:
        (self.folder / f"ends-{command}").write_text(str(code), encoding="utf-8")

    def night(self, lock: str = "one\n", matrix: str = github_matrix(JOBS, {})) -> dict[str, list[Done]]:
        (self.folder / "lock").write_text(lock, encoding="utf-8")
        (self.folder / "matrix").write_text(matrix + "\n", encoding="utf-8")
        return self.machine.run(WORKFLOW)

    def show(self, path: str) -> str:
        return git(self.folder / "origin.git", "show", f"main:{path}")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose `scripts/bootstrap` pretends."""
    first = tmp_path / "first"
    for name, text in {
        "scripts/bootstrap": PRETENDER,
        ".ci/commit-lock": (ROOT / ".ci" / "commit-lock").read_text(encoding="utf-8"),
        ".gitignore": "/build/\n/said\n",
    }.items():
        (first / name).parent.mkdir(parents=True, exist_ok=True)
        (first / name).write_text(text, encoding="utf-8")
        (first / name).chmod(0o755)
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    git(first, "init", "--quiet", "--initial-branch=main")
    git(first, "add", ".")
    git(first, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "-m", "m")
    git(first, "push", "--quiet", str(tmp_path / "origin.git"), "main")
    origin = (tmp_path / "origin.git").as_uri()
    variables = {"KMATRIX_TARGET": "quay.io/team"}
    secrets = {"PULL_SECRET": SECRET, **{key: f"the {key}" for key in KEYS}}
    machine = Machine(
        tmp_path / "machine", origin, variables=variables, secrets=secrets, environment={"PLACE": str(tmp_path)}
    )
    return Project(tmp_path, machine)


def results(done: dict[str, list[Done]]) -> dict[str, set[str]]:
    return {name: {job.result for job in jobs} for name, jobs in done.items()}


def said(job: Done) -> list[str]:
    assert job.folder
    path = job.folder / "said"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_every_cell_is_built_by_one_job_and_all_are_merged(project: Project) -> None:
    done = project.night()
    assert results(done) == ALL_WELL
    built = [line for job in done["build"] for line in said(job)]
    assert built == [f"build -- --only {' '.join(job.cells)}" for job in JOBS]
    (publish,) = done["publish"]
    assert said(publish) == ["merge -- shards --published", "bundle ", "manifests ", "report "]
    assert publish.folder
    merged = (publish.folder / "build" / "results.json").read_text(encoding="utf-8")
    assert merged.splitlines() == [f"-- --only {' '.join(job.cells)}" for job in JOBS]


def test_the_commands_that_sign_have_the_keys_and_no_other_command_has_one(project: Project) -> None:
    project.night()
    seen = set((project.folder / "keys").read_text(encoding="utf-8").splitlines())
    assert seen == {f"build {key} the {key}" for key in KEYS} | {f"bundle {key} the {key}" for key in IMAGE_KEYS}


@pytest.mark.parametrize(("code", "result"), [(0, "success"), (2, "failure")])
def test_a_lock_with_aarch64_has_its_emulator_for_the_bundles_and_nothing_waits_for_it(
    project: Project, code: int, result: str
) -> None:
    project.ends("arch", code)
    (publish,) = project.night("aarch64\n")["publish"]
    assert said(publish) == ["merge -- shards --published", "arch aarch64", "bundle ", "manifests ", "report "]
    assert publish.result == result


def test_lock_and_dockerfiles_are_committed_on_top_of_the_branch(project: Project) -> None:
    project.night()
    assert (project.show("matrix.lock"), project.show("dockerfiles/ocp/one/Dockerfile")) == ("one\n", "one\n")
    assert project.show("scripts/bootstrap") == PRETENDER
    project.night("two\n")
    assert project.show("matrix.lock") == "two\n"
    folder = git(project.folder / "origin.git", "ls-tree", "--name-only", "main", "dockerfiles/ocp/")
    assert folder == "dockerfiles/ocp/two\n", "a cell that is gone takes its Dockerfile with it"
    assert git(project.folder / "origin.git", "rev-list", "--count", "main") == "3\n"
    project.night("two\n")
    assert git(project.folder / "origin.git", "rev-list", "--count", "main") == "3\n", "nothing new, no commit"


@pytest.mark.parametrize("code", [3, 4])
def test_releases_that_are_unresolved_do_not_block_the_others(project: Project, code: int) -> None:
    project.ends("discover", code)
    done = project.night()
    assert results(done) == ALL_WELL
    assert f"::warning title=discover::ended with {code}" in done["discover"][0].printed["Discover"]


@pytest.mark.parametrize("code", [1, 2, 130])
def test_any_other_end_of_discover_ends_the_run(project: Project, code: int) -> None:
    project.ends("discover", code)
    assert results(project.night()) == {
        "discover": {"failure"},
        "commit": {"skipped"},
        "build": {"skipped"},
        "publish": {"skipped"},
        "pages": {"skipped"},
    }


def test_without_a_lock_nothing_goes_on(project: Project) -> None:
    project.ends("discover", 4)
    assert project.night(lock="")["discover"][0].failed == ["Discover"]


def test_a_registry_that_is_down_ends_the_run_before_a_job_is_started(project: Project) -> None:
    project.ends("plan", 4)
    done = project.night()
    assert done["discover"][0].failed == ["Plan"]
    assert (results(done)["build"], results(done)["publish"]) == ({"skipped"}, {"skipped"})


def test_what_was_discovered_is_committed_although_the_target_is_down(project: Project) -> None:
    """The lock says when a release was found: one that is lost would be found again, a night later."""
    project.ends("plan", 4)
    assert results(project.night())["commit"] == {"success"}
    assert (project.show("matrix.lock"), project.show("dockerfiles/ocp/one/Dockerfile")) == ("one\n", "one\n")


def test_a_night_without_news_starts_no_job_of_the_matrix(project: Project) -> None:
    done = project.night(matrix='{"include":[]}')
    assert results(done)["build"] == {"skipped"}
    assert said(done["publish"][0]) == ["merge -- shards --published", "bundle ", "manifests "]


def test_a_plan_without_cells_still_commits_the_lock(project: Project) -> None:
    project.ends("render", 2)
    assert results(project.night(matrix='{"include":[]}'))["commit"] == {"success"}
    assert project.show("matrix.lock") == "one\n"


def test_failed_cells_block_neither_the_others_nor_bundles(project: Project) -> None:
    project.ends("build", 1)
    project.ends("report", 1)
    done = project.night()
    assert results(done) == {
        "discover": {"success"},
        "commit": {"success"},
        "build": {"failure"},
        "publish": {"failure"},
        "pages": {"skipped"},
    }
    assert len(done["build"]) == len(JOBS)
    assert [line.split()[0] for line in said(done["publish"][0])] == ["merge", "bundle", "manifests", "report"]
    assert done["publish"][0].failed == ["Report"]


def test_results_are_there_again_the_next_night(project: Project) -> None:
    project.night()
    done = project.night(matrix='{"include":[]}')
    (publish,) = done["publish"]
    assert publish.folder
    assert (publish.folder / "build" / "results.json").exists()
    assert said(publish)[-1] == "report "


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_repository_with_pages_shows_the_report_also_where_cells_failed(project: Project, code: int) -> None:
    project.machine.variables = {**project.machine.variables, "KMATRIX_PAGES": "true"}
    project.ends("report", code)
    done = project.night()
    assert (results(done)["publish"], results(done)["pages"]) == ({"failure"} if code else {"success"}, {"success"})
    site = project.machine.folder / "site"
    assert sorted(path.name for path in site.iterdir()) == ["index.html", "index.json"]


def test_a_report_that_was_not_written_replaces_no_site(project: Project) -> None:
    project.machine.variables = {**project.machine.variables, "KMATRIX_PAGES": "true"}
    project.ends("discover", 1)
    assert results(project.night())["pages"] == {"skipped"}
    assert not (project.machine.folder / "site").exists()


def test_the_report_of_the_night_before_is_there_for_the_changes_and_its_folder_may_be_replaced(
    project: Project,
) -> None:
    (first,) = project.night()["publish"]
    assert first.folder
    assert not (first.folder / "before").exists()
    (second,) = project.night("two\n")["publish"]
    assert second.folder
    before = (second.folder / "before").read_text(encoding="utf-8")
    assert before == ".written-by-kmatrix of one\nindex.json of one\n"


def test_without_the_secret_every_command_finds_a_file_without_credentials(project: Project) -> None:
    """An empty file is none: discovery ended there, which finds releases without a pull secret too."""
    project.machine.secrets = {}
    (project.folder / "secret").write_text("{}", encoding="utf-8")
    assert results(project.night()) == ALL_WELL


def test_the_mark_of_rendered_folders_is_in_the_artifact(project: Project) -> None:
    """Without it a later run would take the folder for somebody else's. GitHub leaves hidden files out unless asked."""
    project.night()
    results = project.machine.folder / "artifacts" / "results"
    assert (results / "build" / "deploy" / "ocp" / ".written-by-kmatrix").exists()


def test_a_fork_without_a_target_does_nothing(project: Project) -> None:
    project.machine.variables = {}
    assert {each for found in results(project.night()).values() for each in found} == {"skipped"}


def test_the_pull_secret_is_in_no_output_no_artifact_and_no_cache(project: Project) -> None:
    done = project.night()
    outputs = json.dumps([job.outputs | job.printed for jobs in done.values() for job in jobs])
    assert "s3cret" not in outputs
    for folder in ("artifacts", "caches"):
        for path in (project.machine.folder / folder).rglob("*"):
            assert not path.is_file() or "s3cret" not in path.read_text(encoding="utf-8"), path
    assert done["commit"][0].folder
    assert not (done["commit"][0].folder.parent / "pull-secret.json").exists()
