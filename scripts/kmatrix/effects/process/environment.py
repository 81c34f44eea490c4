"""The environment of programs that this one starts: without the credentials of key services, which it alone uses.

securesystemslib's signers read them from this process's own environment whenever they sign, so they cannot be taken out
of it as keys and passwords are. Credential helpers of registries alone get all of it: those of the same clouds read
the same variables.
"""

from __future__ import annotations

import os

# Of boto3, azure-identity, google-auth with the Google Cloud CLI's configuration, and hvac (Vault).
_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "VAULT_")
# Of azure-identity for a machine's own identity (azure/identity/_constants.py), and the path of boto's file.
_NAMES = frozenset({"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET", "BOTO_CONFIG"})


def child_environment() -> dict[str, str]:
    """Return this process's environment without the variables of key services, for a program that it starts."""
    return {name: value for name, value in os.environ.items() if name not in _NAMES and not name.startswith(_PREFIXES)}
