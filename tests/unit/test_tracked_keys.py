"""A private key that git tracks signs nothing: whoever has a clone has it. Where git does not answer, that is said."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from rich.console import Console

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import module_signer
from kmatrix.effects.signing.image_keys import load_image_signer
from kmatrix.effects.signing.module_keys import load_module_signer
from kmatrix.values.errors import InputError
from kmatrix.values.matrix import ImageSigning, ModuleSigning
from tests.unit.support.image_keys import private_key, write_keys
from tests.unit.support.made_up_profile import profile
from tests.unit.support.module_keys import module_key

IMAGE, MODULE = "images.key", "modules.key"
KEYS = [IMAGE, MODULE]


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with an image key and a module key, which git does not track."""
    tree = tmp_path / "tree"
    tree.mkdir()
    git(tree, "init", "--quiet")
    write_keys(tree, private_key())
    ours = module_key("ours")
    (tree / MODULE).write_bytes(ours.pem)
    (tree / "modules.pem").write_bytes(ours.certificate.public_bytes(Encoding.PEM))
    return tree


def load(root: Path, key: str, place: str = "", **environment: str) -> list[str]:
    """Load a key from a place, else from its own file, and return what was said."""
    said: list[str] = []
    place = place or f"file:{key}"
    if key == IMAGE:
        load_image_signer(ImageSigning(key=place, public_keys=("images.pub",)), root, environment, said.append)
    else:
        load_module_signer(ModuleSigning(key=place, certificate="modules.pem"), root, environment, said.append)
    return said


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("after", [(), ("-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "-qm", "keys")])
def test_a_key_that_git_tracks_is_refused(root: Path, key: str, after: tuple[str, ...]) -> None:
    git(root, "add", key)
    if after:
        git(root, *after)
    with pytest.raises(InputError, match=f"{key}: git tracks this private key") as caught:
        load(root, key)
    assert "nox -s keys -- new" in caught.value.hint
    assert f"git rm --cached {root / key}" in caught.value.hint
    git(root, "rm", "--quiet", "--cached", key)
    assert load(root, key) == []


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_git_does_not_track_signs_without_a_word(root: Path, key: str) -> None:
    git(root, "add", "images.pub", "modules.pem")
    assert load(root, key) == []
    (root / ".gitignore").write_text("*.key\n", encoding="utf-8")
    assert load(root, key) == []


@pytest.mark.parametrize("key", KEYS)
def test_a_variable_may_name_a_tracked_file_too(root: Path, key: str) -> None:
    git(root, "add", key)
    with pytest.raises(InputError, match="git tracks this private key"):
        load(root, key, "env:THE_KEY", THE_KEY=str(root / key))
    assert load(root, key, "env:THE_KEY", THE_KEY=(root / key).read_text()) == [], "a variable's text is in no checkout"


def test_links_are_followed_in_both_directions(root: Path, tmp_path: Path) -> None:
    git(root, "add", IMAGE)
    (tmp_path / "images.pub").write_bytes((root / "images.pub").read_bytes())
    (tmp_path / "link.key").symlink_to(root / IMAGE)
    with pytest.raises(InputError, match=r"link\.key: git tracks this private key"):
        load(tmp_path, IMAGE, "file:link.key")
    (tmp_path / "outside.key").write_bytes((root / IMAGE).read_bytes())
    (root / "inside.key").symlink_to(tmp_path / "outside.key")
    git(root, "add", "inside.key")
    assert load(root, IMAGE, "file:inside.key") == [], "git has the link, not the key"


def test_a_name_is_no_pattern(root: Path) -> None:
    (root / "images?key").write_bytes((root / IMAGE).read_bytes())
    git(root, "add", IMAGE)
    assert load(root, IMAGE, "env:THE_KEY", THE_KEY=str(root / "images?key")) == []


def test_the_repository_of_a_hook_is_not_asked_instead(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(root, "add", IMAGE)
    (tmp_path / "other").mkdir()
    git(tmp_path / "other", "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / ".git" / "index"))
    with pytest.raises(InputError, match="git tracks this private key"):
        load(root, IMAGE)


def _without_git(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(root))


def _with_a_broken_repository(root: Path, _: pytest.MonkeyPatch) -> None:
    (root / ".git" / "HEAD").unlink()


@pytest.mark.parametrize("hinder", [_without_git, _with_a_broken_repository])
@pytest.mark.parametrize("key", KEYS)
def test_no_answer_of_git_is_no_absence(
    root: Path, monkeypatch: pytest.MonkeyPatch, key: str, hinder: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    git(root, "add", key)
    hinder(root, monkeypatch)
    (line,) = load(root, key)
    assert line.startswith(f"warning: {key}: git did not answer")


def test_a_quiet_run_is_told_of_the_module_key_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(root, "add", MODULE)
    _without_git(root, monkeypatch)
    said = StringIO()
    signing = ModuleSigning(key=f"file:{MODULE}", certificate="modules.pem")
    call = Invocation(root, Console(file=said, width=200), quiet=True)
    assert module_signer(call, profile(module_signing=signing)) is not None
    assert said.getvalue().startswith(f"warning: {MODULE}: git did not answer")


def test_outside_of_a_checkout_git_is_not_asked(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(root, "add", IMAGE)
    (tmp_path / "keys").mkdir()
    write_keys(tmp_path / "keys", private_key())
    monkeypatch.setenv("PATH", str(root))
    assert load(tmp_path / "keys", IMAGE) == []
