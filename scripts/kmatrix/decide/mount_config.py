"""The client's configuration for a mount without a server, and the keys that a package's own template does not know."""

from __future__ import annotations

from kmatrix.values.cells import Finding


def mount_config(template: str, major: int) -> str:
    """Return a template's text with the values for a mount without a server.

    Args:
        template: text of the client's own configuration template.
        major: of the client version.
    """
    raise NotImplementedError(template, major)


def unknown_keys(client_template: str, helperd_template: str | None, major: int) -> tuple[Finding, ...]:
    """Return a finding for each key that the mount gate or `beegfs-node` writes and a template does not have."""
    raise NotImplementedError(client_template, helperd_template, major)
