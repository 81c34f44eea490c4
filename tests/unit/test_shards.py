"""`build --shard` on several machines, and `merge` on one of them: every cell is built once, all are in one file."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.support.commanded_site import Site, make_site

TARGET = ("--target", "registry.invalid/team")


def shard(folder: Path, part: str) -> tuple[Site, str]:
    """Build a part in a checkout of its own; return the checkout and what was printed."""
    folder.mkdir()
    site = make_site(folder)
    command = site.command("ends " * 6, "build", "--no-boot", "--shard", part, *TARGET)
    done = site.ended(command, capture_output=True)
    assert done.returncode == 0, done.stderr
    return site, done.stderr


def cells_of(site: Site) -> list[str]:
    path = site.root / "build" / "results.json"
    return [cell["cell"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]] if path.exists() else []


def test_shards_build_every_cell_once_and_are_merged(tmp_path: Path) -> None:
    one, _ = shard(tmp_path / "one", "1/2")
    two, said = shard(tmp_path / "two", "2/2")
    assert "shard 2/2: 2 cells" in said
    assert [len(cells_of(site)) for site in (one, two)] == [4, 2]
    rendered = [path.parent.name for path in sorted((two.root / "dockerfiles" / "site").glob("*/Dockerfile"))]
    assert rendered == sorted(cells_of(two))
    built = cells_of(one) + cells_of(two)
    done = one.ended(one.command("", "merge", str(two.root)), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert sorted(cells_of(one)) == sorted(built)
    assert len(set(built)) == 6
    written = json.loads((one.root / "build" / "results.json").read_text(encoding="utf-8"))
    assert all(cell["at"] for cell in written["cells"]), "merge could not tell which verdict is the latest"
    for cell in built:
        assert (one.root / "build" / "logs" / "site" / f"{cell}.log").is_file()


def test_a_shard_without_cells_is_no_error(tmp_path: Path) -> None:
    site, said = shard(tmp_path / "one", "7/7")
    assert "shard 7/7: 0 cells" in said
    assert cells_of(site) == []
