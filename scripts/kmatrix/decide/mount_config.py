"""The client's configuration for a mount without a server, and the keys that a package's own template does not know."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from kmatrix.values.cells import Finding
from kmatrix.values.module import CLIENT_CONFIG, HELPERD_CONFIG

# 192.0.2.0/24 is for documentation (RFC 5737), so no server answers there. The client takes no host name without help.
_SERVER = "192.0.2.2"
# The client waits for servers while it mounts, unless this time is zero (`__App_mountServerCheck` in the client's
# client_module/source/app/App.c); a mount that has no secret must say that it wants none (`__Config_initConnAuthHash`
# in app/config/Config.c).
_EVERY_CLIENT = {"sysMgmtdHost": _SERVER, "sysMountSanityCheckMS": "0", "connAuthFile": ""}
_NO_SECRET = {"connDisableAuthentication": "true"}
# Without the helper daemon, messages of 7.x would be lost; 8.x always logs to the kernel.
_TO_KERNEL_LOG = {"logType": "syslog"}
# A call to a server that does not answer is tried again for ten minutes by default.
_SHORT = {"connCommRetrySecs": "1"}
# The keys whose values images/beegfs-client/node-helperd replaces; the script leaves out those that a template lacks.
_HELPERD_KEYS = ("connAuthFile", "logStdFile")


def mount_config(template: str, major: int) -> str:
    """Return a template's text with the values for a mount without a server.

    Comments, order and all other values stay. A key that the template lacks is added at its end only if there is no
    such mount without it; `unknown_keys` reports it.

    Args:
        template: text of the client's own configuration template.
        major: of the client version.
    """
    required, where_known = _client_values(major)
    values = required | where_known
    lines = []
    for line in _lines(template):
        key = _key(line)
        lines.append(_setting(key, values[key]) if key in values else line)
    known = _keys(template)
    lines += [_setting(key, value) for key, value in required.items() if key not in known]
    # The client ignores a last line that has no end (`__Config_loadFromFile` in app/config/Config.c).
    return "".join(f"{line}\n" for line in lines)


def unknown_keys(client_template: str, helperd_template: str | None, major: int) -> tuple[Finding, ...]:
    """Return a finding for each key that the mount gate or `beegfs-node` writes and a template does not have.

    The client ignores a key that it does not know without a word, and so does not do what the writer wants.
    `connDisableAuthentication` is not wanted of 7.x: it exists from 7.2.7 and 7.3.1 on.

    Args:
        client_template: text of the client's own configuration template.
        helperd_template: text of the helper daemon's; None if the image has none.
        major: of the client version.
    """
    required, _ = _client_values(major)
    found = _unknown(CLIENT_CONFIG, client_template, required, "a mount without a server")
    if helperd_template is not None and major < 8:
        found += _unknown(HELPERD_CONFIG, helperd_template, _HELPERD_KEYS, "beegfs-node")
    return tuple(found)


def _client_values(major: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return the values that a mount needs, and those that are set only where the template has their key."""
    if major < 8:
        return _EVERY_CLIENT | _TO_KERNEL_LOG, _NO_SECRET | _SHORT
    return _EVERY_CLIENT | _NO_SECRET, _SHORT


def _unknown(file: str, template: str, written: Iterable[str], writer: str) -> list[Finding]:
    known = _keys(template)
    findings = []
    for key in written:
        if key not in known:
            near = next(iter(difflib.get_close_matches(key, known, n=1)), "")
            nearest = f"the nearest key there is {near}" if near else "no key there is like it"
            message = f"{file} does not have the key {key}, which {writer} sets: {nearest}"
            findings.append(Finding("mount", "config-key-unknown", message, key, near))
    return findings


def _keys(template: str) -> list[str]:
    return [key for line in _lines(template) if (key := _key(line))]


def _lines(template: str) -> list[str]:
    # The client knows no other end of a line.
    return template.removesuffix("\n").split("\n")


def _key(line: str) -> str:
    """Return the key of a line, as the client reads it (`__Config_addLineToConfigMap`); empty for none."""
    return "" if line.lstrip().startswith("#") else line.partition("=")[0].strip()


def _setting(key: str, value: str) -> str:
    # Templates have their values in one column.
    return f"{key:<29} = {value}".rstrip()
