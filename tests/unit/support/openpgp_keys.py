"""OpenPGP keys that real gpg creates while the tests run; nothing of them is kept."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.unit.support.programs import needs

needs_gpg = needs("gpg")


@dataclass(frozen=True)
class Gpg:
    """A gpg home directory of a test's own."""

    home: Path

    def run(self, *arguments: str, given: bytes = b"") -> bytes:
        """Run gpg and return its output."""
        command = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", *arguments]
        environment = {**os.environ, "GNUPGHOME": str(self.home)}
        return subprocess.run(command, input=given, env=environment, capture_output=True, check=True).stdout

    def key(self, name: str, *options: str, expires: str = "never", usage: str = "sign") -> str:
        """Create a key and return its fingerprint."""
        self.run(*options, "--quick-gen-key", f"{name}@example.com", "rsa2048", usage, expires)
        return self.fingerprint(name)

    def fingerprint(self, name: str) -> str:
        """Return the fingerprint of a primary key."""
        listed = self.run("--with-colons", "--list-keys", f"={name}@example.com").decode().splitlines()
        return next(line.split(":")[9] for line in listed if line.startswith("fpr:"))

    def export(self, *fingerprints: str) -> bytes:
        """Return the public keys in one armored block."""
        return self.run("--armor", "--export", *fingerprints)

    def revoke(self, fingerprint: str) -> None:
        """Revoke a key with the certificate that gpg created beside it."""
        certificate = (self.home / "openpgp-revocs.d" / f"{fingerprint}.rev").read_bytes()
        # The colon keeps people from importing it by accident.
        self.run("--import", given=certificate.replace(b":-----BEGIN", b"-----BEGIN"))


@contextmanager
def gpg_home(folder: Path) -> Iterator[Gpg]:
    """Yield a gpg home in a folder with a short path, which gpg's agent needs; end the agent with it."""
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield Gpg(folder)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=False, capture_output=True)
