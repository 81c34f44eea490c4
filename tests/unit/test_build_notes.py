"""Everything that a run's builds leave is removed: by the run at its end, or by the next one from the run's notes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.effects.engine.docker.build_notes import BuildNotes, Noted, read_notes
from kmatrix.values.errors import InputError, UnreachableError
from tests.unit.support.http_server import RESET, Reply, Request, web_server

ONE, TWO, THREE = "0123456789ab", "123456789abc", "23456789abcd"
LOG = (
    "Step 1/3 : FROM base",
    " ---> ffffffffffff",
    "Step 2/3 : RUN one",
    f" ---> Running in {TWO}",
    f" ---> {ONE}",
    "Step 3/3 : RUN other",
    f" ---> {THREE}",
)


@dataclass
class Docker:
    """An engine with two images and a container of a build; images named in `named` have a name."""

    there: list[str] = field(default_factory=lambda: [ONE, TWO, THREE])
    named: tuple[str, ...] = ()
    kind: str = "RepoTags"
    names: dict[str, str] = field(default_factory=dict)
    away: bool = False
    leaves_at: str = ""
    leaves_after: str = ""
    needed: tuple[str, ...] = ()
    removed: list[str] = field(default_factory=list)
    noprune: list[str] = field(default_factory=list)

    def __call__(self, asked: Request) -> Reply:
        path = asked.path.split("?")[0].partition("/v1.41")[2] or asked.path
        name = path.rstrip("/").removesuffix("/json").rpartition("/")[2]
        if path.endswith("/version"):
            return _json({"ApiVersion": "1.41", "MinAPIVersion": "1.12"})
        if self.away:
            return RESET
        if path == "/build":
            parts = [{"stream": f"{line}\n"} for line in LOG] + [{"aux": {"ID": f"sha256:{THREE}"}}]
            return Reply(200, "".join(json.dumps(part) + "\r\n" for part in parts).encode(), chunked=True)
        if path == "/images/json":
            return _json([{"RepoTags": [name]} for name in self.names])
        if path == "/containers/json":
            return _json([])
        if asked.method == "DELETE":
            name = path.partition("s/")[2]
            self.away = name == self.leaves_at
            if self.away:
                return RESET
            if name in self.needed:
                return Reply(409, b'{"message": "conflict: image has dependent child images"}')
            self.removed.append(path.lstrip("/"))
            self.noprune += asked.query.get("noprune", [])
            self.away = name == self.leaves_after
            self.names.pop(name, None)
            return _json([])
        if name not in self.there:
            return Reply(404, b'{"message": "no such image"}')
        return _json({"Id": name, "Architecture": "amd64", self.kind: ["a:b"] if name in self.named else []})


def _json(content: object) -> Reply:
    return Reply(200, json.dumps(content).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Docker]:
    made = Docker()
    with web_server(made) as web:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{web.address}")
        yield made


def noted(path: Path) -> BuildNotes:
    notes = BuildNotes(path)
    notes.note("image", ONE)
    notes.note("container", TWO)
    notes.note("image", THREE)
    return notes


def test_a_run_removes_its_intermediate_images_from_the_last_back_and_forgets_its_notes(
    docker: Docker, tmp_path: Path
) -> None:
    with DockerEngine("run", tmp_path) as engine:
        engine.build(b"", on_line=lambda _: None)
        assert read_notes(tmp_path / "run") == Noted((TWO,), (ONE, THREE))
        assert docker.removed == [], "a build that goes on beside it may stand on them"
        engine.remove_leftovers()
        assert docker.removed == [f"images/{THREE}", f"images/{ONE}"]
        assert list(tmp_path.iterdir()) == []
        engine.remove_leftovers()
    assert len(docker.removed) == 2


@pytest.mark.parametrize("kind", ["RepoTags", "RepoDigests"])
def test_an_image_that_has_a_name_is_not_intermediate(docker: Docker, tmp_path: Path, kind: str) -> None:
    """Nor is one that was built, pushed, removed and pulled by digest again."""
    docker.named, docker.kind = (THREE,), kind
    with DockerEngine("run", tmp_path) as engine:
        engine.build(b"", on_line=lambda _: None)
        engine.remove_leftovers()
    assert docker.removed == [f"images/{ONE}"]


def test_names_of_a_run_leave_its_intermediate_images_and_others_take_theirs_along(docker: Docker) -> None:
    with DockerEngine("run") as engine:
        engine.remove_image(engine.own_name("cell"))
        engine.remove_image("site/image:cell")
    assert docker.removed == ["images/kmatrix-run/run:cell", "images/site/image:cell"]
    assert docker.noprune == ["True", "False"]


def test_the_next_run_removes_names_then_containers_then_images_and_the_notes(docker: Docker, tmp_path: Path) -> None:
    noted(tmp_path / "ended")
    docker.names = {"kmatrix-run/ended:cell": ""}
    with DockerEngine("run", tmp_path) as engine:
        engine.remove_leftovers("ended")
    assert docker.removed == [
        "images/kmatrix-run/ended:cell",
        f"containers/{TWO}",
        f"images/{THREE}",
        f"images/{ONE}",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("run_id", ["", "ended"])
def test_notes_stay_while_the_engine_is_away(docker: Docker, tmp_path: Path, run_id: str) -> None:
    noted(tmp_path / "ended")
    with DockerEngine("run", tmp_path) as engine:
        engine.build(b"", on_line=lambda _: None)
        docker.away = True
        with pytest.raises(UnreachableError):
            engine.remove_leftovers(run_id)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "ended"}


def test_an_intermediate_image_that_something_stands_on_stays_and_keeps_no_other(
    docker: Docker, tmp_path: Path
) -> None:
    docker.needed = (THREE,)
    noted(tmp_path / "ended")
    with DockerEngine("run", tmp_path) as engine:
        engine.remove_leftovers("ended")
    assert docker.removed == [f"containers/{TWO}", f"images/{ONE}"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("moment", "run_id", "last"),
    [
        *[("leaves_at", run_id, name) for run_id, name in (("", THREE), ("", ONE))],
        *[("leaves_at", "ended", name) for name in (TWO, THREE, ONE)],
        *[("leaves_after", run_id, name) for run_id, name in (("", THREE), ("ended", TWO), ("ended", THREE))],
    ],
)
def test_notes_stay_where_the_engine_goes_away_in_between(
    docker: Docker, tmp_path: Path, moment: str, run_id: str, last: str
) -> None:
    noted(tmp_path / "ended")
    setattr(docker, moment, last)
    with DockerEngine("run", tmp_path) as engine:
        engine.build(b"", on_line=lambda _: None)
        with pytest.raises(UnreachableError):
            engine.remove_leftovers(run_id)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "ended"}


def test_a_note_that_was_cut_names_nothing(tmp_path: Path) -> None:
    noted(tmp_path / "run")
    with (tmp_path / "run").open("a", encoding="utf-8") as file:
        file.write("image 01234\nimage ../x\nconta")
    assert read_notes(tmp_path / "run") == Noted((TWO,), (ONE, THREE))


def test_a_run_that_noted_nothing_has_nothing_to_forget(tmp_path: Path) -> None:
    BuildNotes(tmp_path / "never").forget()
    assert read_notes(tmp_path / "never") == Noted()


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        noted(tmp_path / "file" / "run")
    assert caught.value.hint
