"""The stand-in client's keys: the module's list and the templates of both majors agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CLIENT = Path(__file__).resolve().parents[2] / "images" / "lab-client"
_KEY = re.compile(r'^\tKEY\((\w+), (TEXT|FLAG|NUMBER|PORT), (ALL|7|8), "(.*)"\)', re.MULTILINE)
# What the mount gate writes into a copy of the template, and what the CSI driver does, which refuses a template that
# lacks one of its keys (ThinkParQ/beegfs-csi-driver, pkg/beegfs/beegfs_util.go: writeClientFiles).
WRITTEN = {
    "ALL": {
        *("sysMgmtdHost", "sysMountSanityCheckMS", "connAuthFile", "connDisableAuthentication", "connCommRetrySecs"),
        *("connInterfacesFile", "connNetFilterFile", "connTcpOnlyFilterFile", "connUseRDMA", "quotaEnabled"),
    },
    "7": {"logType", "connClientPortUDP", "connHelperdPortTCP", "connMgmtdPortTCP", "connMgmtdPortUDP"},
    "8": {"connClientPort", "connMgmtdPort", "connRDMAInterfacesFile"},
}


def keys_of_the_module(major: str) -> dict[str, str]:
    """Return the keys that the module of a major knows, with their defaults."""
    header = (CLIENT / "module/include/keys.h").read_text(encoding="utf-8")
    found = _KEY.findall(header)
    assert len(found) == header.count("\tKEY(")
    return {name: default for name, _, majors, default in found if majors in ("ALL", major)}


def keys_of_the_template(major: str) -> dict[str, str]:
    lines = (CLIENT / f"config/beegfs-client-{major}.conf").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("=", 1) for line in lines if line and not line.startswith("#")]
    found = {key.strip(): value.strip() for key, value in pairs}
    assert len(found) == len(pairs), "a key stands there twice"
    return found


@pytest.mark.parametrize("major", ["7", "8"])
def test_the_template_of_a_major_has_exactly_the_keys_that_its_module_knows(major: str) -> None:
    known = keys_of_the_module(major)
    # A configuration file does not name itself.
    assert set(known) - {"cfgFile"} == set(keys_of_the_template(major))


@pytest.mark.parametrize("major", ["7", "8"])
def test_the_template_states_the_defaults_but_for_the_secret_of_8x(major: str) -> None:
    known = keys_of_the_module(major)
    stated = keys_of_the_template(major)
    secret = {"8": {"connAuthFile": "/etc/beegfs/conn.auth"}, "7": {}}[major]
    assert {key: value for key, value in stated.items() if known[key] != value} == secret


@pytest.mark.parametrize("major", ["7", "8"])
def test_the_template_has_every_key_that_others_write_and_none_of_the_other_majors(major: str) -> None:
    stated = set(keys_of_the_template(major))
    assert WRITTEN["ALL"] | WRITTEN[major] <= stated
    assert not WRITTEN[{"7": "8", "8": "7"}[major]] & stated
