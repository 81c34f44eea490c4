"""images/beegfs-client/unpack-packages with real gpg, rpmbuild, rpmsign, rpmkeys and rpm: packages pass or are refused.

rpm 4.18 imports a revoked key like any other, and every key of a file, and accepts packages signed by any of them; so
the script must choose the key.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.support.openpgp_keys import Gpg, gpg_home
from tests.unit.support.rpms import build_rpm, needs_rpm

SCRIPT = Path(__file__).parents[2] / "images" / "beegfs-client" / "unpack-packages"
pytestmark = needs_rpm
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="rpm --root needs root, as a build of an image has it")
NEVRA = "beegfs-client-0:8.98.1-el9.noarch"


@dataclass(frozen=True)
class Context:
    """A build context: the script, a key file and packages beside it."""

    folder: Path
    gpg: Gpg

    def add(self, key: str, **fields: str) -> str:
        """Add a signed package and return its file's name."""
        return build_rpm(self.folder / "packages", signer=(self.gpg, key), **fields).name

    def run(self, fingerprint: str, *packages: str, keep: str = "all") -> subprocess.CompletedProcess[str]:
        """Run the script."""
        arguments = [str(SCRIPT.name), fingerprint, str(self.folder / "out"), keep, *packages]
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        (self.folder / "out").mkdir()
        return subprocess.run(
            ["bash", *arguments],
            cwd=self.folder,
            env={**os.environ, "TMPDIR": str(self.folder / "tmp")},
            capture_output=True,
            text=True,
            check=False,
        )

    def refused(self, fingerprint: str, *packages: str) -> str:
        """Run the script and return its error."""
        done = self.run(fingerprint, *packages)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    folder = tmp_path / "c"
    for name in ("packages", "tmp"):
        (folder / name).mkdir(parents=True)
    shutil.copy(SCRIPT, folder)
    with gpg_home(tmp_path / "g") as gpg:
        yield Context(folder, gpg)


def put_key(context: Context, content: bytes) -> None:
    (context.folder / "package-key").write_bytes(content)


@needs_root
@pytest.mark.parametrize("epoch", ["", "20"])
def test_a_package_of_the_wanted_key_is_unpacked(context: Context, epoch: str) -> None:
    key = context.gpg.key("good")
    put_key(context, context.gpg.export(key))
    file = context.add(key, epoch=epoch)
    done = context.run(key, f"{file}={NEVRA.replace('0:', epoch + ':') if epoch else NEVRA}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (context.folder / "out/etc/beegfs/beegfs-client").read_text() == "beegfs-client\n"
    assert list((context.folder / "tmp").iterdir()) == []
    assert "package-version-wrong" in context.refused(key, f"{file}={NEVRA.replace('0:', '7:')}")


@needs_root
def test_one_path_of_the_packages_can_be_kept_alone(context: Context) -> None:
    key = context.gpg.key("good")
    put_key(context, context.gpg.export(key))
    done = context.run(key, f"{context.add(key)}={NEVRA}", keep="/opt/beegfs/src")
    assert done.returncode == 0, done.stdout + done.stderr
    found = sorted(str(path.relative_to(context.folder / "out")) for path in (context.folder / "out").rglob("*"))
    assert found == ["opt", "opt/beegfs", "opt/beegfs/src", "opt/beegfs/src/beegfs-client"]


@needs_root
def test_only_the_wanted_key_of_a_file_verifies(context: Context) -> None:
    wanted, other = context.gpg.key("wanted"), context.gpg.key("other")
    put_key(context, context.gpg.export(other, wanted) + context.gpg.export(wanted))
    ours = context.add(wanted)
    done = context.run(wanted, f"{ours}={NEVRA}")
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = context.add(other, name="beegfs-tools")
    said = context.refused(wanted, f"{ours}={NEVRA}", f"{theirs}=beegfs-tools-0:8.98.1-el9.noarch")
    assert "package-signature-bad" in said


def test_a_file_without_the_wanted_key_is_refused(context: Context) -> None:
    wanted, other = context.gpg.key("wanted"), context.gpg.key("other")
    put_key(context, context.gpg.export(other))
    said = context.refused(wanted, f"{context.add(wanted)}={NEVRA}")
    assert f"package-key-mismatch: the key file holds {other}, the matrix names {wanted}" in said
    # Twice the same key, the second time with a revocation.
    before = context.gpg.export(other)
    context.gpg.revoke(other)
    put_key(context, before + context.gpg.export(other))
    assert f"package-key-mismatch: the key file holds {other}, the matrix names {wanted}" in context.refused(wanted)
    put_key(context, b"<html>404</html>")
    assert f"the key file holds no key, the matrix names {wanted} (gpg: " in context.refused(wanted)


def test_a_folder_too_long_for_the_sockets_of_gpg_changes_no_answer(context: Context) -> None:
    """Gpg's exit code tells also of an agent that it could not ask, in which no public key is (g10/import.c)."""
    wanted, other = context.gpg.key("wanted"), context.gpg.key("other")
    long = Context(context.folder / ("x" * 90), context.gpg)
    for name in ("packages", "tmp"):
        (long.folder / name).mkdir(parents=True)
    shutil.copy(SCRIPT, long.folder)
    put_key(long, context.gpg.export(other))
    assert f"package-key-mismatch: the key file holds {other}, the matrix names {wanted}" in long.refused(wanted)
    put_key(long, b"<html>404</html>")
    assert f"package-key-mismatch: the key file holds no key, the matrix names {wanted}" in long.refused(wanted)


def test_a_revoked_key_is_refused_though_rpm_would_take_it(context: Context) -> None:
    key, other = context.gpg.key("revoked"), context.gpg.key("other")
    file, before = context.add(key), context.gpg.export(key)
    context.gpg.revoke(key)
    for content in (context.gpg.export(key), before + context.gpg.export(key), context.gpg.export(other, key)):
        put_key(context, content)
        assert f"package-key-revoked: its owner has revoked the key {key}" in context.refused(key, f"{file}={NEVRA}")


@needs_root
def test_packages_of_an_expired_key_are_taken_and_it_is_said(context: Context) -> None:
    key = context.gpg.key("old", "--faked-system-time", "20200101T000000", expires="1y")
    (context.gpg.home / "gpg.conf").write_text("faked-system-time 20200601T000000\n")
    file = context.add(key)
    (context.gpg.home / "gpg.conf").unlink()
    put_key(context, context.gpg.export(key))
    done = context.run(key, f"{file}={NEVRA}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"note: the key {key} has expired" in done.stdout


@needs_root
def test_a_subkey_verifies_until_it_is_revoked(context: Context) -> None:
    key = context.gpg.key("master", usage="cert")
    context.gpg.run("--quick-add-key", key, "rsa2048", "sign", "never")
    file = context.add(key)
    put_key(context, context.gpg.export(key))
    done = context.run(key, f"{file}={NEVRA}")
    assert done.returncode == 0, done.stdout + done.stderr
    context.gpg.run("--command-fd", "0", "--edit-key", key, given=b"key 1\nrevkey\ny\n0\n\ny\nsave\n")
    put_key(context, context.gpg.export(key))
    assert "package-signature-bad" in context.refused(key, f"{file}={NEVRA}")
    # The key goes on with a new subkey, though rpm 4.18 imports no key that has a revoked one in it.
    context.gpg.run("--quick-add-key", key, "rsa2048", "sign", "never")
    put_key(context, context.gpg.export(key))
    assert "package-signature-bad" in context.refused(key, f"{file}={NEVRA}")
    file = context.add(key)
    done = context.run(key, f"{file}={NEVRA}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_fingerprint_of_a_subkey_is_not_the_keys(context: Context) -> None:
    key = context.gpg.key("master", usage="cert")
    context.gpg.run("--quick-add-key", key, "rsa2048", "sign", "never")
    listed = context.gpg.run("--with-colons", "--with-subkey-fingerprint", "--list-keys").decode().splitlines()
    subkey = [line.split(":")[9] for line in listed if line.startswith("fpr:")][1]
    put_key(context, context.gpg.export(key))
    said = context.refused(subkey, f"{context.add(key)}={NEVRA}")
    assert f"package-key-mismatch: the key file holds {key}, the matrix names {subkey}" in said


def test_rpm_alone_takes_what_a_revoked_key_and_any_key_of_a_file_has_signed(context: Context) -> None:
    """Why the script does not leave the choice to rpm; a later rpm may refuse the revoked key by itself."""
    revoked, other = context.gpg.key("revoked"), context.gpg.key("other")
    theirs = context.folder / "packages" / context.add(other)
    context.gpg.revoke(revoked)
    put_key(context, context.gpg.export(revoked, other))
    database = ["rpmkeys", "--dbpath", str(context.folder / "db")]
    subprocess.run([*database, "--import", str(context.folder / "package-key")], check=True)
    said = subprocess.run([*database, "--checksig", str(theirs)], check=True, capture_output=True, text=True).stdout
    assert said.endswith("digests signatures OK\n")


def test_a_package_that_is_not_signed_is_refused(context: Context) -> None:
    key = context.gpg.key("good")
    put_key(context, context.gpg.export(key))
    file = build_rpm(context.folder / "packages").name
    assert "package-signature-missing" in context.refused(key, f"{file}={NEVRA}")


def stub(context: Context, name: str, body: str) -> str:
    """Put a program before the real one, which `body` may go on with as "$REAL"; return the PATH that finds it."""
    folder = context.folder / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/bash\nREAL={shutil.which(name)}\n{body}\n")
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


_KILL_ON = 'case "$*" in *{}*) kill -9 $$ ;; *) exec "$REAL" "$@" ;; esac'
_SAY_ON = 'case "$*" in *{}*) {}; exit {} ;; *) exec "$REAL" "$@" ;; esac'
# A file of two keys of which one was kept (gpg's doc/DETAILS, IMPORT_OK and IMPORT_RES).
_OF_TWO_KEYS_ONE = "printf '[GNUPG:] %s\\n' 'IMPORT_OK 1 AB' 'IMPORT_RES 2 0 1 0 0 0 0 0 0 0 0 0 0 0 0' >&2"
_FULL = "echo 'error: sqlite failure: INSERT: database or disk is full' >&2"


@pytest.mark.parametrize(
    ("program", "body", "code"),
    [
        ("gpg", _KILL_ON.format("--import"), "step-killed"),
        ("gpg", _KILL_ON.format("--list-keys"), "step-killed"),
        ("gpg", _KILL_ON.format("--show-keys"), "step-killed"),
        ("gpg", _SAY_ON.format("--import", "echo 'gpg: keyring: No space left on device' >&2", 2), "unread"),
        ("gpg", _SAY_ON.format("--show-keys", ":", 2), "step-failed"),
        ("gpg", _SAY_ON.format("--import", _OF_TWO_KEYS_ONE, 2), "package-key-unread"),
        ("rpmkeys", _KILL_ON.format("--import"), "step-killed"),
        ("rpmkeys", _SAY_ON.format("--import", _FULL, 1), "package-key-unusable"),
        ("rpmkeys", _KILL_ON.format("--checksig"), "step-killed"),
        ("rpmkeys", _SAY_ON.format("--checksig", ":", 1), "step-failed"),
        ("rpmkeys", _SAY_ON.format("--checksig", f'{_FULL}; echo "a.rpm: digests SIGNATURES NOT OK"', 1), "unread"),
        ("rpmkeys", _SAY_ON.format("--checksig", 'echo "a.rpm: NOT OK"', 1), "package-unread"),
        ("rpm", _KILL_ON.format("-qp"), "package-unread"),
        ("rpm", _SAY_ON.format("-qp", ":", 0), "package-unread"),
    ],
)
def test_a_program_that_reaches_no_answer_says_nothing_against_key_or_packages(
    context: Context, monkeypatch: pytest.MonkeyPatch, program: str, body: str, code: str
) -> None:
    """The messages are those of rpm's lib/rpmchecksig.c; capitals mark the parts that did not verify."""
    key = context.gpg.key("good")
    put_key(context, context.gpg.export(key))
    file = context.add(key)
    monkeypatch.setenv("PATH", stub(context, program, body))
    done = context.run(key, f"{file}={NEVRA}")
    assert (done.returncode, "error: package" in done.stderr) == (75, False), done.stdout + done.stderr
    assert f"{code}: " in done.stderr.partition("unpack-packages: stopped: ")[2]


def test_a_changed_payload_is_a_bad_signature(context: Context) -> None:
    key = context.gpg.key("good")
    put_key(context, context.gpg.export(key))
    file = context.folder / "packages" / context.add(key)
    content = file.read_bytes()
    file.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    assert "error: package-signature-bad: " in context.refused(key, f"{file.name}={NEVRA}")


def test_a_package_that_is_not_in_the_context_is_no_fault_of_the_packages(context: Context) -> None:
    key = context.gpg.key("good")
    put_key(context, context.gpg.export(key))
    done = context.run(key, f"none.rpm={NEVRA}")
    assert (done.returncode, "unpack-packages: stopped: package-missing: " in done.stderr) == (75, True)
