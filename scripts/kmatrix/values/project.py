"""The address that names this project in identifiers: of builds, builders and documents. It needs no server."""

from __future__ import annotations

# The reverse of the prefix of this project's labels.
PROJECT = "https://beegfs-kmatrix.github.io"
# The program, as attestations name it.
PROGRAM = f"{PROJECT}/kmatrix"
