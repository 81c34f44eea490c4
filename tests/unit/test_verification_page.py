"""The page on verification: its commands are read by a shell, and those about a module's signature are run."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest

from tests.unit.support.documents import code_blocks, text_of
from tests.unit.support.programs import needs

PAGE = "docs/verification.md"
BLOCKS = code_blocks([PAGE])
MAGIC = b"~Module signature appended~\n"
(OF_MODULE,) = (block for block in BLOCKS if "openssl cms" in block)


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """A folder `module` with a file that is signed as the kernel's sign-file does, and its certificate."""
    folder = tmp_path / "module"
    folder.mkdir()
    for name in ("modules", "other"):
        new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "1")
        openssl(folder, *new, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    (folder / "plain").write_bytes(b"\x7fELF" + bytes(range(256)) * 20)
    sign = ("cms", "-sign", "-binary", "-noattr", "-nocerts", "-md", "sha256", "-outform", "DER")
    openssl(folder, *sign, "-signer", "modules.pem", "-inkey", "modules.key", "-in", "plain", "-out", "p7s")
    openssl(folder, "x509", "-in", "modules.pem", "-outform", "DER", "-out", "beegfs.der")
    signed = (folder / "p7s").read_bytes()
    # struct module_signature, with PKEY_ID_PKCS7: include/linux/module_signature.h.
    trailer = struct.pack(">BBBBBxxxI", 0, 0, 2, 0, 0, len(signed))
    (folder / "beegfs.ko").write_bytes((folder / "plain").read_bytes() + signed + trailer + MAGIC)
    return tmp_path


def run_block(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-euo", "pipefail", "-c", OF_MODULE]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_command_is_one_that_a_shell_reads(block: str) -> None:
    done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs("openssl")
def test_the_block_about_the_module_verifies_its_signature(folder: Path) -> None:
    done = run_block(folder)
    assert done.returncode == 0, done.stderr
    assert "CN = modules" in done.stdout.replace("CN=", "CN = ")
    assert re.search(r"(?i)sha256 fingerprint=([0-9A-F]{2}:){31}", done.stdout)
    assert (folder / "module" / "content").read_bytes() == (folder / "module" / "plain").read_bytes()


@needs("openssl")
def test_it_refuses_a_module_that_was_changed_after_signing(folder: Path) -> None:
    module = folder / "module" / "beegfs.ko"
    content = bytearray(module.read_bytes())
    content[100] ^= 1
    module.write_bytes(content)
    done = run_block(folder)
    assert done.returncode != 0
    assert "content verify error" in done.stderr


@needs("openssl")
def test_it_refuses_the_certificate_of_another_key(folder: Path) -> None:
    openssl(folder / "module", "x509", "-in", "other.pem", "-outform", "DER", "-out", "beegfs.der")
    done = run_block(folder)
    assert done.returncode != 0
    assert "signer certificate not found" in done.stderr


def test_the_page_states_every_kind_of_document() -> None:
    rows = re.findall(r"^\| (\w[\w ]*) \| ", text_of(PAGE), re.MULTILINE)
    assert rows[:5] == ["document", "signature", "test result", "provenance", "SBOM"]
