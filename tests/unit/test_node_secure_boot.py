"""The client image's node-secure-boot and node-load-hints: certificates, keys of the kernel, why modules are refused.

The certificates are real ones; the kernel's files are in the kernel's own form (security/keys/proc.c).
"""

from __future__ import annotations

import datetime
import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

PARTS = Path(__file__).parents[2] / "images" / "beegfs-client"
KERNEL = "5.14.0-1.el9.x86_64"
NAME = "Example module key"
_NOT_BEFORE = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_KEYRINGS = (
    "0b1f2cce I------     1 perm 1f0b0000     0     0 keyring   .builtin_trusted_keys: 2",
    "1aa24a3e I------     1 perm 1f0f0000     0     0 keyring   .secondary_trusted_keys: 1",
    "2b7bbf0b I------     1 perm 0f0b0000     0     0 keyring   .platform: 7",
    "2b7bbf0c I------     1 perm 0f0b0000     0     0 keyring   .blacklist: 301",
    "0fee4a1d I------     1 perm 1f030000     0     0 asymmetri Red Hat Enterprise Linux kernel signing key: "
    "7d1a4bf9cf2d9b5a0a2b5b7b3e7e2f0a3ce0a2b1: X509.rsa 3ce0a2b1 []",
)


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class _Made:
    der: bytes
    key_id: str
    serial: str


@cache
def _made(
    common: str = NAME, organization: str = "Example", until: int = 2036, key_id: bool = True, fields: int = 1
) -> _Made:
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    names += [x509.NameAttribute(NameOID.LOCALITY_NAME, "x" * 60)] * fields
    names += [x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else []
    name = x509.Name(names)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(_key().public_key())
        .serial_number(0xABCDEF0123456789)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(datetime.datetime(until, 2, 3, tzinfo=datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(_key().public_key())
    if key_id:
        builder = builder.add_extension(identifier, critical=False)
    made = builder.sign(_key(), hashes.SHA256())
    # A positive integer whose first bit is set has a zero byte before it (X.690).
    return _Made(made.public_bytes(Encoding.DER), identifier.digest.hex(), "00abcdef0123456789")


def _line(identifier: str, subject: str = f"Example: {NAME}", flags: str = "I------") -> str:
    return f"3ccf6c61 {flags}     1 perm 1f030000     0     0 asymmetri {subject}: {identifier}: X509.rsa 01234567 []"


@dataclass(frozen=True)
class Node:
    """A node's files, and an image with one module; `signer` is the name that modinfo prints for its signature."""

    root: Path

    def write(self, path: str, content: bytes | str) -> None:
        """Write one of the node's or the image's files."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def has(self, certificate: _Made | None, keys: tuple[str, ...] | None, **more: str) -> None:
        """Give the image a certificate, the kernel its keys, and it more files: lockdown, sig_enforce."""
        if certificate:
            self.write(f"lib/modules/{KERNEL}/extra/beegfs.der", certificate.der)
        if keys is not None:
            self.write("proc/keys", "".join(f"{line}\n" for line in (*_KEYRINGS, *keys)))
        for name, text in more.items():
            self.write(name, text)

    def run(self, call: str, signer: str = NAME) -> subprocess.CompletedProcess[str]:
        """Run a function of the parts, as `info` and `load` do."""
        paths: Mapping[str, str] = {
            "MODULES": ".",
            "HOST_PROC": "proc",
            "LOCKDOWN": "lockdown",
            "SIG_ENFORCE": "sig_enforce",
            "SECURE_BOOT": "SecureBoot",
            "BOOT_PARAMS": "boot_params",
        }
        entry = (PARTS / "beegfs-node").read_text(encoding="utf-8")
        reads = entry[entry.index("read_line() {") : entry.index("write_to_run() {")]
        script = "\n".join(
            (
                "set -euo pipefail",
                *(f"{name}={self.root / path}" for name, path in paths.items()),
                f"kernel={KERNEL}",
                reads,
                "has_module() { return 0; }",
                f"of_module() {{ printf '%s' '{signer}'; }}",
                f". {PARTS}/node-secure-boot",
                f". {PARTS}/node-load-hints",
                call,
            )
        )
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)

    def says(self, call: str, signer: str = NAME) -> str:
        """Run a function that must succeed without a word on stderr; return what it prints."""
        done = self.run(call, signer)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node without any of these files."""
    return Node(tmp_path)


# The certificate


@pytest.mark.parametrize(
    ("made", "subject", "until"),
    [
        (_made(), f"{NAME} (Example)", "2036-02-03"),
        (_made(until=2050), f"{NAME} (Example)", "2050-02-03"),
        (_made(organization=""), NAME, "2036-02-03"),
        (_made(common="Schlüssel; $(id) & \\x41"), "Schlüssel; $(id) & \\x41 (Example)", "2036-02-03"),
        (_made(common=""), "no common name (Example)", "2036-02-03"),
        (_made(fields=9), f"{NAME} (Example)", "2036-02-03"),
    ],
)
def test_the_certificate_is_described(node: Node, made: _Made, subject: str, until: str) -> None:
    node.has(made, None)
    fingerprint = hashlib.sha256(made.der).hexdigest()
    assert node.says("describe_signer") == f"{subject}, SHA-256 {fingerprint}, valid until {until}"


@pytest.mark.parametrize("made", [_made(), _made(fields=9), _made(until=2050)])
def test_the_key_id_is_that_of_the_kernels_list(node: Node, made: _Made) -> None:
    node.has(made, (_line(made.key_id),))
    assert node.says("describe_key") == "yes"
    node.has(made, (_line(made.key_id[:-2] + "00"),))
    assert node.says("describe_key") == "no"


def test_a_key_that_somebody_added_under_a_name_is_known_by_the_end_of_its_id(node: Node) -> None:
    """`keyctl padd asymmetric NAME %:.secondary_trusted_keys` gives the key any description."""
    listed = "3ccf6c61 I------     1 perm 1f030000     0     0 asymmetri any: name: X509.rsa"
    node.has(_made(), (f"{listed} {_made().key_id[-8:]} []",))
    assert node.says("describe_key") == "yes"
    node.has(_made(), (f"{listed} 00000000 []", f"{listed} []"))
    assert node.says("describe_key") == "no"


def test_without_a_key_id_the_serial_number_stands_for_it(node: Node) -> None:
    made = _made(key_id=False)
    node.has(made, (_line(made.serial),))
    assert node.says("describe_key") == "yes"


@pytest.mark.parametrize("length", [0, 1, 3, 40, 300, -200, -1])
def test_a_truncated_certificate_is_none(node: Node, length: int) -> None:
    node.has(None, ())
    node.write(f"lib/modules/{KERNEL}/extra/beegfs.der", _made().der[:length])
    assert node.says("describe_signer") == f"{NAME} (this image has no certificate of it)"


def test_damaged_certificates_neither_hang_nor_break_the_report(node: Node) -> None:
    node.has(None, ())
    der = bytearray(_made().der)
    for offset in range(0, 330, 11):
        for value in (0x00, 0x84, 0xFF):
            changed = bytes((*der[:offset], value, *der[offset + 1 :]))
            node.write(f"lib/modules/{KERNEL}/extra/beegfs-{offset}-{value}.der", changed)
    loop = 'for file in "$MODULES"/lib/modules/*/extra/*.der; do read_certificate "$file" || true; done; printf done'
    done = node.run(loop)
    assert (done.returncode, done.stdout) == (0, "done")
    assert "syntax error" not in done.stderr
    assert "invalid" not in done.stderr


def test_a_module_without_signature_is_said(node: Node) -> None:
    node.has(_made(), (_line(_made().key_id),))
    assert node.says("describe_signer", signer="") == "not signed"
    assert node.says("describe_key", signer="") == "none"


# The kernel's keys


@pytest.mark.parametrize(
    ("line", "known"),
    [
        (_line("aa11", subject=NAME), "yes"),
        (_line("aa11", subject=f"Example: {NAME}"), "yes"),
        (_line("aa11", subject=f"{NAME} of another"), "no"),
        (_line("aa11", subject=f"not {NAME}"), "no"),
        (_line("aa11", flags="IR-----"), "no"),
        (_line("aa11", flags="I-D----"), "no"),
        (_line("aa11", flags="I-----i"), "no"),
        (f"3ccf6c61 I------     1 perm 1f030000     0     0 keyring   {NAME}: aa11: X509.rsa 01234567 []", "no"),
    ],
)
def test_without_a_certificate_the_name_is_looked_for(node: Node, line: str, known: str) -> None:
    node.has(None, (line,))
    assert node.says("describe_key") == known


# What Debian's 6.12.117 printed under OVMF's Secure Boot with two certificates in db, the second without a key ID.
_PRINTED = """\
05eda016 I--Q---     1 perm 0c030000     0 65534 keyring   .user_reg: 2
0878bb8d I------     2 perm 000d0000     0     0 user      opal-boot-pin: 255
0ea6397d I------     1 perm 0f0b0000     0     0 keyring   .blacklist: 1
0f15807b I------     2 perm 1f0b0000     0     0 keyring   .machine: empty
12dc377a I------     1 perm 1f0f0000     0     0 keyring   .secondary_trusted_keys: 2
17a84908 I------     1 perm 1f030000     0     0 asymmetri Build time autogenerated kernel key: \
f8737d2b0cb3acd10f915583dfb07a29db3f1982: X509.ecdsa-nist-p384 db3f1982 []
19c9ccc4 I------     2 perm 1f0b0000     0     0 keyring   .builtin_trusted_keys: 1
1edbddf7 I------     1 perm 1f010000     0     0 asymmetri Example module key: \
0af1abcbe5f8d85a7603498db8fd39d5e4474e5c: X509.rsa e4474e5c []
310ca6e9 I------     1 perm 1f010000     0     0 asymmetri Debian Secure Boot CA: \
6ccece7e4c6c0d1f6149f3dd27dfcc5cbb419ea1: X509.rsa bb419ea1 []
39cb3d8c I------     2 perm 09090000     0     0 blacklist \
bin:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
3b2e5d9b I------     1 perm 1f0b0000     0     0 keyring   .platform: 3
3b7382d9 I------     1 perm 1f010000     0     0 asymmetri Example module key: 00abcdef0123456789: X509.rsa []
"""


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ("'' f8737d2b0cb3acd10f915583dfb07a29db3f1982", 0),
        ("'' 0af1abcbe5f8d85a7603498db8fd39d5e4474e5c", 0),
        ("'' 00abcdef0123456789", 0),
        ("'Debian Secure Boot CA' ''", 0),
        ("'' e3b0c44298fc1c149afbf4c8996fb92427ae41e4", 1),
        ("'Debian Secure Boot' ''", 1),
        ("'opal-boot-pin' ''", 1),
    ],
)
def test_the_list_that_a_kernel_printed_is_read(node: Node, wanted: str, status: int) -> None:
    node.write("proc/keys", _PRINTED)
    assert node.run(f"key_is_known {wanted}").returncode == status
    assert node.says("trusted_keyrings") == (
        ".builtin_trusted_keys: 1, .machine: empty, .platform: 3, .secondary_trusted_keys: 2"
    )


def test_a_list_without_any_key_tells_nothing(node: Node) -> None:
    node.has(_made(), None)
    unknown = f"unknown: {node.root}/proc/keys lists none"
    assert node.says("describe_key") == unknown
    node.write("proc/keys", "".join(f"{line}\n" for line in _KEYRINGS[:-1]))
    assert node.says("describe_key") == unknown


def test_the_trusted_keyrings_are_listed(node: Node) -> None:
    assert node.run("trusted_keyrings").returncode == 1
    node.has(None, ())
    assert node.says("trusted_keyrings") == ".builtin_trusted_keys: 2, .platform: 7, .secondary_trusted_keys: 1"


# Secure Boot and lockdown


def _boot_params(mode: int) -> bytes:
    return bytes(492) + bytes((mode,)) + bytes(3603)


@pytest.mark.parametrize(
    ("boot_params", "variable", "state"),
    [
        (3, None, "on"),
        (2, None, "off"),
        (0, None, "unknown"),
        (1, None, "unknown"),
        (None, None, "unknown"),
        (None, 1, "on"),
        (None, 0, "off"),
        (0, 1, "on"),
        # `mokutil --disable-validation`: the kernel does not lock itself down.
        (2, 1, "off"),
    ],
)
def test_secure_boot_is_read(node: Node, boot_params: int | None, variable: int | None, state: str) -> None:
    if boot_params is not None:
        node.write("boot_params", _boot_params(boot_params))
    if variable is not None:
        node.write("SecureBoot", bytes((6, 0, 0, 0, variable)))
    assert node.says("secure_boot") == state


@pytest.mark.parametrize(
    ("lockdown", "enforced", "required"),
    [
        ("none [integrity] confidentiality\n", "N\n", "required (lockdown integrity)"),
        ("none integrity [confidentiality]\n", None, "required (lockdown confidentiality)"),
        ("[none] integrity confidentiality\n", "Y\n", "required (module.sig_enforce)"),
        ("[none] integrity confidentiality\n", "N\n", "not required"),
        (None, "Y\n", "required (module.sig_enforce)"),
        (None, "N\n", "unknown"),
    ],
)
def test_it_is_said_whether_signatures_are_required(
    node: Node, lockdown: str | None, enforced: str | None, required: str
) -> None:
    files = {"lockdown": lockdown, "sig_enforce": enforced}
    node.has(None, None, **{name: text for name, text in files.items() if text})
    assert node.says("signatures_required") == required


@pytest.mark.parametrize(
    ("enforced", "signer", "keys", "refused"),
    [
        ("Y", NAME, (), True),
        ("Y", "", (), True),
        ("Y", NAME, (_line(_made().key_id),), False),
        # A list that cannot be seen refuses nothing.
        ("Y", NAME, None, False),
        ("N", "", (), False),
    ],
)
def test_it_is_known_before_loading_that_the_kernel_will_refuse(
    node: Node, enforced: str, signer: str, keys: tuple[str, ...] | None, refused: bool
) -> None:
    node.has(_made(), keys, sig_enforce=f"{enforced}\n", lockdown="[none] integrity confidentiality\n")
    assert node.run("is_refused", signer).returncode == (0 if refused else 1)


# Hints

_OURS = f"{NAME} (Example), SHA-256 {hashlib.sha256(_made().der).hexdigest()}, valid until 2036-02-03"


@pytest.mark.parametrize("message", ["Key was rejected by service", "Required key not available", "Bad message"])
def test_a_changed_module_and_an_unknown_key_are_told_apart(node: Node, message: str) -> None:
    hint = f"load_hint \"could not insert 'beegfs': {message}\""
    node.has(_made(), ())
    assert node.says(hint) == (
        f"This node accepts only signed modules, and this one is signed by {_OURS}, whose key the kernel does not "
        "know: enrol the certificate, see docs/secure-boot.md."
    )
    node.has(_made(), (_line(_made().key_id),))
    assert node.says(hint) == (
        f"The kernel knows the key of {_OURS}: the module was changed after it was signed, or the certificate is "
        "revoked (dbx). Pull or build the image again."
    )
    (node.root / "proc/keys").unlink()
    assert node.says(hint).endswith(f"the kernel knows its key is unknown, as {node.root}/proc/keys lists none.")
    assert "this one is not signed: use images with signed modules" in node.says(hint, signer="")


@pytest.mark.parametrize(
    ("lockdown", "boot_params", "found"),
    [
        ("none [integrity] confidentiality", 3, "The kernel is locked down (integrity; Secure Boot is on): it"),
        ("none [integrity] confidentiality", 2, "The kernel is locked down (integrity; Secure Boot is off): it"),
        ("", 3, "Secure Boot is on: such a kernel accepts only signed modules, and this one is signed by"),
        ("", 0, "whether the kernel is locked down (Secure Boot) is unknown"),
        ("[none] integrity confidentiality", 3, "the kernel is not locked down; a seccomp profile may prevent it"),
    ],
)
def test_lockdown_and_secure_boot_are_looked_at(node: Node, lockdown: str, boot_params: int, found: str) -> None:
    node.has(_made(), (), lockdown=lockdown)
    node.write("boot_params", _boot_params(boot_params))
    # As in a container that has SYS_MODULE and no user namespace of its own.
    node.write("status", "CapEff:\t0000000000010000\n")
    node.write("uid_map", "         0          0 4294967295\n")
    hints = (PARTS / "node-load-hints").read_text(encoding="utf-8")
    called = hints.replace("/proc/self/", f"{node.root}/").replace("/proc/sys/", f"{node.root}/sys/")
    node.write("hints", called)
    said = node.says(f'. {node.root}/hints; load_hint "could not insert: Operation not permitted"')
    assert found in said


def test_the_capability_comes_before_lockdown(node: Node) -> None:
    node.has(_made(), (), lockdown="none [integrity] confidentiality")
    node.write("status", "CapEff:\t0000000000000000\n")
    hints = (PARTS / "node-load-hints").read_text(encoding="utf-8").replace("/proc/self/status", f"{node.root}/status")
    node.write("hints", hints)
    said = node.says(f'. {node.root}/hints; load_hint "could not insert: Operation not permitted"')
    assert said == "The container lacks the capability SYS_MODULE: the pod is not under the SCC beegfs-client."
