"""Keys, signatures and attestations; the primitives are those of `cryptography`."""
