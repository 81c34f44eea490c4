"""`keys new`: files that nobody else reads, in no place from which git would commit them, and where each goes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kmatrix import cli
from kmatrix.commands import keys as keys_command
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.effects.disk.git import work_tree_that_takes
from kmatrix.effects.signing import environment
from kmatrix.effects.signing.new_keys import new_module_key
from kmatrix.values.errors import Exit
from tests.unit.support.projects import MATRIX

IMAGE_FILES, MODULE_FILES = ["images.key", "images.pub"], ["modules.der", "modules.key", "modules.pem"]
PASSWORDS = ("KMATRIX_IMAGE_KEY_PASSWORD", "KMATRIX_MODULE_KEY_PASSWORD")


@pytest.fixture(name="project")
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in no version control, where module keys are quickly found."""
    monkeypatch.setattr(environment, "_taken", {})
    for name in (*PASSWORDS, "KMATRIX_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        keys_command,
        "new_module_key",
        lambda name, now, years, password: new_module_key(name, now, years, password, 2048),
    )
    project = tmp_path / "project"
    project.mkdir()
    (project / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    monkeypatch.chdir(project)
    return project


def run(*arguments: str) -> int:
    return cli.main(["keys", "new", *arguments])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ((), IMAGE_FILES + MODULE_FILES),
        (("--images",), IMAGE_FILES),
        (("--modules",), MODULE_FILES),
        (("--images", "--modules"), IMAGE_FILES + MODULE_FILES),
    ],
    ids=" ".join,
)
def test_the_keys_that_are_asked_for_are_created_and_listed(
    project: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], files: list[str]
) -> None:
    folder = project.parent / "keys"
    assert run(*options, "../keys") == Exit.OK
    assert names(folder) == files
    assert sorted(capsys.readouterr().out.splitlines()) == [str(folder / name) for name in files]


def test_no_key_is_printed(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PASSWORDS:
        monkeypatch.setenv(name, "correct horse")
    run("../keys")
    said = "".join(capsys.readouterr())
    for path in (project.parent / "keys").glob("*.key"):
        body = path.read_text(encoding="ascii").splitlines()[1]
        assert body not in said
    assert "correct horse" not in said


def test_the_passwords_of_the_environment_encrypt_the_keys(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(PASSWORDS, ("one", "two"), strict=True):
        monkeypatch.setenv(name, value)
    run("../keys")
    folder = project.parent / "keys"
    assert load_pem_private_key((folder / "images.key").read_bytes(), b"one")
    assert load_pem_private_key((folder / "modules.key").read_bytes(), b"two")


@pytest.mark.usefixtures("project")
def test_git_is_not_given_the_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    inherited: set[str] = set()
    for name in PASSWORDS:
        monkeypatch.setenv(name, "correct horse")
    monkeypatch.setattr(keys_command, "work_tree_that_takes", lambda _: inherited.update(os.environ))
    assert run("../keys") == Exit.OK
    assert inherited.isdisjoint(PASSWORDS)


def test_an_unencrypted_key_is_named_with_the_variable_that_would_encrypt_it(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del project
    monkeypatch.setenv(PASSWORDS[0], "one")
    run("../keys")
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("modules.key is not encrypted")
    assert PASSWORDS[1] in first


def test_the_certificate_has_the_name_and_the_years_that_are_given(project: Path) -> None:
    run("--modules", "--name", "Storage, 2027", "--years", "2", "../keys")
    certificate = x509.load_der_x509_certificate((project.parent / "keys" / "modules.der").read_bytes())
    (name,) = certificate.subject
    assert name.value == "Storage, 2027"
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 730


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--name", "x" * 65), "cannot be a certificate's name"),
        (("--name", "two\nlines"), "cannot be a certificate's name"),
        (("--name", " x"), "cannot be a certificate's name"),
        (("--years", "101"), "longer than 100 years"),
        (("--years", "0"), "not a positive integer"),
        (("--images", "--name", "x"), "--name has no effect"),
        (("--images", "--years", "3"), "--years has no effect"),
    ],
    ids=lambda each: "".join(each)[:20],
)
def test_what_makes_no_certificate_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert run(*options, "../keys") == Exit.USAGE
    assert message in capsys.readouterr().err
    assert not (project.parent / "keys").exists()


def test_nothing_is_overwritten(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project.parent / "keys"
    run("--images", "../keys")
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    assert run("../keys") == Exit.USAGE
    assert "images.key exists already" in capsys.readouterr().err
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before
    assert run("--modules", "../keys") == Exit.OK, "the other key can still be created beside it"


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def test_a_folder_from_which_git_would_commit_the_keys_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(project, "init", "--quiet")
    (project / ".gitignore").write_text("/ignored/\n", encoding="utf-8")
    assert run("keys") == Exit.USAGE
    said = capsys.readouterr().err
    assert f"is in the checkout {project}, which does not ignore it" in said
    assert "outside of it" in said
    assert not (project / "keys").exists()
    assert run("--images", "ignored") == Exit.OK
    assert run("--images", "../keys") == Exit.OK


@pytest.mark.parametrize("ignored", ["images.key", "modules.key"])
def test_a_checkout_must_ignore_each_private_key(
    project: Path, capsys: pytest.CaptureFixture[str], ignored: str
) -> None:
    subprocess.run(["git", "init", "--quiet", str(project)], check=True)
    (project / ".gitignore").write_text(f"{ignored}\n", encoding="utf-8")
    assert run("mine") == Exit.USAGE
    assert "could be committed" in capsys.readouterr().err
    assert names(project / "mine") == []
    only = "--images" if ignored == "images.key" else "--modules"
    assert run(only, "mine") == Exit.OK


def test_the_work_tree_that_takes_a_file_is_found_through_links_and_without_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    git(tree, "init", "--quiet")
    (tree / ".gitignore").write_text("*.key\n", encoding="utf-8")
    (tmp_path / "link").symlink_to(tree / "below")
    assert work_tree_that_takes(tmp_path / "other" / "images.pub") is None
    assert work_tree_that_takes(tmp_path / "link" / "images.pub") == tree
    assert work_tree_that_takes(tmp_path / "link" / "images.key") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert work_tree_that_takes(tmp_path / "link" / "images.key") == tree


def test_the_lines_for_matrix_yaml_are_accepted_there(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del project
    run("../keys")
    said = capsys.readouterr().err
    lines = said[said.index("    image_signing:") : said.index("\n\nThis machine")]
    matrix = yaml.safe_load(MATRIX)
    name = matrix["default_profile"]
    matrix["profiles"][name] |= yaml.safe_load(lines)
    profile = read_matrix(yaml.safe_dump(matrix)).profile(name)
    assert profile.image_signing
    assert profile.module_signing
    assert (profile.image_signing.key, profile.image_signing.public_keys) == (
        "env:KMATRIX_IMAGE_KEY",
        ("keys/images.pub",),
    )
    assert profile.module_signing.certificate == "keys/modules.pem"


def test_every_file_that_the_guide_names_was_created(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PASSWORDS:
        monkeypatch.setenv(name, "x")
    run("../my keys")
    folder = project.parent / "my keys"
    said = capsys.readouterr().err
    words = [word for line in said.splitlines() if line.startswith("    ") for word in shlex.split(line.strip("<"))]
    found = {match[0] for word in words if (match := re.search(rf"{re.escape(str(folder))}/\S+", word))}
    assert found == {str(folder / name) for name in ("images.key", "images.pub", "modules.key", "modules.pem")}
    for secret in ("IMAGE_KEY", "IMAGE_KEY_PASSWORD", "MODULE_KEY", "MODULE_KEY_PASSWORD"):
        assert f"gh secret set {secret} --env publish" in said
        assert f"    KMATRIX_{secret}" in said


def test_the_guide_does_not_copy_over_the_public_half_of_a_key_in_use(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its earlier public key, a project believes nothing that it has published."""
    run("../keys")
    guide = capsys.readouterr().err
    (project / "keys").mkdir()
    (project / "keys/images.pub").write_text("in use", encoding="ascii")
    (command,) = re.findall(r"mkdir -p keys && cp .*", guide)
    subprocess.run(["bash", "-c", command], cwd=project, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (project / "keys/images.pub").read_text(encoding="ascii") == "in use"
    assert "docs/signing.md#replace-the-image-key" in guide
    assert "docs/signing.md#replace-the-module-key" in guide
