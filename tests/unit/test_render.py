"""Rendering: golden Dockerfiles for every RHEL major, closed to injection, stable; and the inputs of the cell key."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from kmatrix.decide.plan import make_plan
from kmatrix.decide.render import make_recipe
from kmatrix.effects.engine.build_context import pack_context, read_image_source
from kmatrix.values.errors import InputError
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import ImageRef
from kmatrix.values.pins import KernelPin
from kmatrix.values.recipe import ImageSource, Recipe
from tests.unit.support.made_up_profile import digest, lock, profile, recipes

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "render"


def test_rendered_dockerfiles_are_the_golden_ones() -> None:
    """`KMATRIX_UPDATE_GOLDEN=1` writes them; read the difference before you commit it."""
    rendered = {name: recipe.dockerfile for name, recipe in recipes(profile()).items()}
    if os.environ.get("KMATRIX_UPDATE_GOLDEN"):
        for name, text in rendered.items():
            (GOLDEN / name).mkdir(parents=True, exist_ok=True)
            (GOLDEN / name / "Dockerfile").write_text(text, encoding="utf-8")
    golden = {path.parent.name: path.read_text(encoding="utf-8") for path in GOLDEN.glob("*/Dockerfile")}
    assert sorted(rendered) == sorted(golden), "set of cells; renew with KMATRIX_UPDATE_GOLDEN=1"
    for name, text in golden.items():
        assert rendered[name] == text, f"{name} differs; renew with KMATRIX_UPDATE_GOLDEN=1"


def test_rendering_twice_gives_the_same_bytes() -> None:
    assert recipes(profile()) == recipes(profile())


def test_kernels_of_one_client_and_line_differ_only_from_the_module_stage_on() -> None:
    wanted = profile(base_stream="el9")
    pins = lock(wanted)
    first = pins.releases[1]
    kernels = (KernelPin(release="5.14.0-427.22.1.el9_4.x86_64", flavour="standard"), *first.kernels)
    both = pins.model_copy(update={"releases": (first.model_copy(update={"kernels": kernels}),)})
    source = read_image_source(ROOT / "images" / "beegfs-client")
    cells = [cell for cell in make_plan("ocp", wanted, both).cells if cell.client.major == 8]
    texts = [make_recipe(cell, "ocp", wanted, both, source).dockerfile for cell in cells]
    instructions = [[line for line in text.splitlines() if not line.startswith("#")] for text in texts]
    at = next(index for index, line in enumerate(instructions[0]) if line.endswith(" AS module"))
    assert len(texts) == 2
    assert instructions[0][:at] == instructions[1][:at]
    assert instructions[0][at:] != instructions[1][at:]


@pytest.mark.parametrize(
    "poison", ["el9\nRUN id", 'a"; id', "$(id)", "`id`", "a\\", "a'b", "{{x}}", "a#b", "a;b", "a\tb"]
)
def test_a_value_from_outside_cannot_add_an_instruction(poison: str) -> None:
    wanted = profile()
    # Past every validator, as a fault in one of them would let it.
    poisoned = wanted.model_copy(update={"base_packages": (poison,)})
    with pytest.raises(InputError, match="not allowed in a rendered Dockerfile"):
        recipes(poisoned)


def test_a_template_without_the_banner_that_tells_our_files_is_refused() -> None:
    source = read_image_source(ROOT / "images" / "beegfs-client")
    bare = replace(source, template=source.template.replace("# Generated from", "# From"))
    with pytest.raises(InputError, match="renders to no line that begins with"):
        recipes(profile(), bare)


def test_an_unknown_name_in_the_template_is_an_error_not_an_empty_string() -> None:
    source = ImageSource("FROM {{ base }}\nLABEL x={{ nothing_of_the_kind }}\n", {})
    with pytest.raises(InputError, match="nothing_of_the_kind"):
        recipes(profile(), source)


def test_a_broken_template_names_its_line() -> None:
    with pytest.raises(InputError, match=r"Dockerfile.j2:2: "):
        recipes(profile(), ImageSource("FROM scratch\n{% if %}\n", {}))


def test_mirrors_move_images_and_not_their_digests() -> None:
    mirrored = profile(mirrors={"registry.example": "mirror.local:5000/all"})
    for name, recipe in recipes(mirrored).items():
        plain = recipes(profile())[name]
        assert recipe.toolkit.host == "mirror.local:5000"
        assert recipe.toolkit.digest == plain.toolkit.digest
        assert "FROM registry.example" not in recipe.dockerfile


def one(source: ImageSource, **changes: object) -> Recipe:
    return recipes(profile(**changes), source)["8.2.2-5.14.0-427.22.1.el9_4.x86_64+rt"]


def test_the_key_changes_with_everything_that_decides_the_image() -> None:
    source = read_image_source(ROOT / "images" / "beegfs-client")
    plain = one(source).cell_key
    longer_script = dict(source.files) | {"build-module": source.files["build-module"] + b"#"}
    changed = {
        "template": one(replace(source, template=source.template + "RUN x\n")).cell_key,
        "script": one(replace(source, files=longer_script)).cell_key,
        "file copied": one(replace(source, template=source.template + "COPY README.md /\n")).cell_key,
        "rdma": one(source, rdma=False).cell_key,
        "base packages": one(source, base_packages=("kmod",)).cell_key,
    }
    assert plain not in changed.values()
    assert len(set(changed.values())) == len(changed)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "images" / "beegfs-client", tmp_path / "beegfs-client"))


@pytest.mark.parametrize(
    "stray",
    [
        *(".beegfs-node.swp", "unpack-packages~", "#build-module#", "notes.txt", "README.md", "core"),
        *("__pycache__/fetch-packages.pyc", "packages/beegfs-client-8.2.2.rpm", "package-key", "sub/build-module"),
    ],
)
def test_a_file_that_no_instruction_copies_is_in_neither_the_key_nor_the_context(folder: Path, stray: str) -> None:
    plain = one(read_image_source(folder))
    (folder / stray).parent.mkdir(exist_ok=True)
    (folder / stray).write_bytes(b"\xff\x00 not ours")
    strayed = one(read_image_source(folder))
    assert strayed == plain
    assert b"not ours" not in b"".join(strayed.files.values())


def test_a_stray_that_cannot_be_read_stops_nothing_and_a_copied_file_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, read = one(read_image_source(folder)), Path.read_bytes
    (folder / "of-somebody-else").touch()
    refused = {"of-somebody-else"}

    def read_bytes(path: Path) -> bytes:
        if path.name in refused:
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert one(read_image_source(folder)) == plain
    refused.add("build-module")
    with pytest.raises(InputError, match=r"copies build-module, which cannot be read: Permission denied"):
        one(read_image_source(folder))


def test_a_copied_file_that_is_not_there_is_told_before_anything_is_built(folder: Path) -> None:
    (folder / "node-files").unlink()
    with pytest.raises(InputError, match=r"Dockerfile.j2 copies node-files, and there is no such file"):
        one(read_image_source(folder))


def test_a_folder_that_is_copied_counts_without_what_editors_left_in_it(folder: Path) -> None:
    template = folder / "Dockerfile.j2"
    text = template.read_text(encoding="utf-8")
    template.write_text(text.replace("COPY packages/", "COPY more.d /more.d/\nCOPY packages/"), encoding="utf-8")
    (folder / "more.d" / "deep").mkdir(parents=True)
    (folder / "more.d" / "deep" / "file").write_bytes(b"one")
    plain = one(read_image_source(folder))
    assert plain.files["more.d/deep/file"] == b"one"
    (folder / "more.d" / ".file.swp").write_bytes(b"b0VIM")
    assert one(read_image_source(folder)) == plain
    (folder / "more.d" / "deep" / "file").write_bytes(b"two")
    assert one(read_image_source(folder)).cell_key != plain.cell_key


def test_what_is_copied_is_what_the_key_is_over() -> None:
    """A file's name alone moves the key, so that no copied file is without an influence on it."""
    source = read_image_source(ROOT / "images" / "beegfs-client")
    plain = one(source)
    assert {"build-module", "unpack-packages", "beegfs-node", "node-files"} < set(plain.files)
    assert not {"README.md", "Dockerfile.j2", "fetch-packages", "rebuild-module"} & set(plain.files)
    for name in plain.files:
        assert one(replace(source, files={**source.files, name: b"other"})).cell_key != plain.cell_key, name


def test_a_files_mode_on_disk_reaches_neither_the_key_nor_the_context(folder: Path) -> None:
    plain = one(read_image_source(folder))
    for path in folder.iterdir():
        path.chmod(path.stat().st_mode ^ 0o111)
    assert one(read_image_source(folder)) == plain
    with tarfile.open(fileobj=io.BytesIO(pack_context(plain.dockerfile, plain.files))) as archive:
        modes = {member.name: member.mode for member in archive}
    assert (modes["build-module"], modes["node-files"]) == (0o755, 0o644)


def test_neither_a_comment_nor_the_profiles_name_nor_a_mirror_changes_the_key() -> None:
    source = read_image_source(ROOT / "images" / "beegfs-client")
    commented = replace(
        source, template=source.template.replace("FROM base AS packages", "# x\n\nFROM base AS packages")
    )
    assert commented.template != source.template

    def keys(found: dict[str, Recipe]) -> dict[str, str]:
        return {name: recipe.cell_key for name, recipe in found.items()}

    plain = keys(recipes(profile(), source))
    assert keys(recipes(profile(), commented)) == plain
    assert keys(recipes(profile(), source, name="nightly")) == plain
    assert keys(recipes(profile(mirrors={"registry.example": "mirror.local:5000/all"}), source)) == plain


def test_the_key_changes_with_a_package_and_with_the_toolkit() -> None:
    wanted, source = profile(), read_image_source(ROOT / "images" / "beegfs-client")
    pins = lock(wanted)
    cell = make_plan("ocp", wanted, pins).cells[0]
    plain = make_recipe(cell, "ocp", wanted, pins, source).cell_key
    package = pins.clients[0].packages[0].model_copy(update={"sha256": "9" * 64})
    client = pins.clients[0].model_copy(update={"packages": (package, *pins.clients[0].packages[1:])})
    other_package = pins.model_copy(update={"clients": (client, *pins.clients[1:])})
    other_toolkit = replace(cell, toolkit=cell.toolkit.with_digest(digest("8")))
    assert make_recipe(cell, "ocp", wanted, other_package, source).cell_key != plain
    assert make_recipe(other_toolkit, "ocp", wanted, pins, source).cell_key != plain


def test_a_certificate_changes_the_key_and_the_last_stage_alone() -> None:
    wanted, source = profile(), read_image_source(ROOT / "images" / "beegfs-client")
    pins = lock(wanted)
    cell = make_plan("ocp", wanted, pins).cells[0]
    plain, ours, other = (
        make_recipe(cell, "ocp", wanted, pins, source, certificate) for certificate in (b"", b"ours", b"other")
    )
    assert len({plain.cell_key, ours.cell_key, other.cell_key}) == 3
    assert (plain.certificate, ours.certificate) == (b"", b"ours")
    assert ours.dockerfile == other.dockerfile
    common, last = plain.dockerfile.split("FROM userland\n")
    start, signed = ours.dockerfile.split("FROM userland\n")
    assert last == "COPY --from=module /module/ /\n"
    assert signed == "COPY module/ /\n"
    assert [line for line in start.splitlines() if not line.startswith("#")] == [
        line for line in common.splitlines() if not line.startswith("#")
    ]
    # What the build itself adds to the context is no file of the image's folder.
    assert ours.files == plain.files


def test_the_key_does_not_change_when_another_release_has_the_same_kernel() -> None:
    wanted, source = profile(), read_image_source(ROOT / "images" / "beegfs-client")
    pins = lock(wanted)
    later = pins.releases[1].model_copy(
        update={
            "version": pins.releases[1].version.parse("4.16.4"),
            "toolkit": ImageRef.parse(f"registry.example/toolkit@{digest('9')}"),
        }
    )
    more = pins.model_copy(update={"releases": (*pins.releases, later)})

    def keys(lock_: ProfileLock) -> dict[str, str]:
        cells = make_plan("ocp", wanted, lock_).cells
        return {cell.id: make_recipe(cell, "ocp", wanted, lock_, source).cell_key for cell in cells}

    assert keys(more) == keys(pins)


def test_a_context_is_the_same_bytes_for_the_same_files_and_only_scripts_can_run() -> None:
    files = {"b": b"text", "a": b"#!/bin/sh\n"}
    packed = pack_context("FROM scratch\n", files)
    assert packed == pack_context("FROM scratch\n", dict(reversed(files.items())))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        modes = {member.name: member.mode for member in archive}
    assert modes == {"Dockerfile": 0o644, "a": 0o755, "b": 0o644}
