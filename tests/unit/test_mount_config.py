"""The configuration for a mount without a server, and the keys that a package's template does not have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kmatrix.decide.mount_config import mount_config, unknown_keys

ROOT = Path(__file__).parents[2]
NODE_HELPERD = ROOT / "images" / "beegfs-client" / "node-helperd"
# Keys of the templates of ThinkParQ/beegfs (client_module/build/dist/etc/beegfs-client.conf and
# helperd/build/dist/etc/beegfs-helperd.conf), as far as anything here sets them or could mistake them for one it sets.
CLIENT = {
    "7.2": "sysMgmtdHost connAuthFile connClientPortUDP connMgmtdPortTCP connCommRetrySecs connNetFilterFile "
    "logHelperdIP logLevel logType sysMountSanityCheckMS",
    "7.4": "sysMgmtdHost connAuthFile connDisableAuthentication connClientPortUDP connMgmtdPortTCP connCommRetrySecs "
    "connNetFilterFile logHelperdIP logLevel logType sysMountSanityCheckMS",
    "8.3": "sysMgmtdHost connAuthFile connDisableAuthentication connClientPort connMgmtdPort connCommRetrySecs "
    "connNetFilterFile logLevel sysMountSanityCheckMS",
}
HELPERD = {
    "7.2": "connAuthFile connHelperdPortTCP logNoDate logNumLines logStdFile tuneNumWorkers",
    "7.4": "connAuthFile connDisableAuthentication connHelperdPortTCP logNoDate logNumLines logStdFile tuneNumWorkers",
}
VALUES = {
    "sysMgmtdHost": "192.0.2.2",
    "sysMountSanityCheckMS": "0",
    "connAuthFile": "",
    "connCommRetrySecs": "1",
}


def template(keys: str) -> str:
    return "# A comment.\n\n" + "".join(f"{key:<29} = of the package\n" for key in keys.split())


def settings(text: str) -> dict[str, str]:
    """Return the values of a configuration as the client reads it: a later line wins."""
    lines = [line.strip() for line in text.split("\n")[:-1]]
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {key.strip(): value.strip() for key, _, value in pairs}


@pytest.mark.parametrize(
    ("client", "more"),
    [
        ("7.2", {"logType": "syslog"}),
        ("7.4", {"logType": "syslog", "connDisableAuthentication": "true"}),
        ("8.3", {"connDisableAuthentication": "true"}),
    ],
)
def test_a_vendors_template_gets_the_values_and_no_other_key(client: str, more: dict[str, str]) -> None:
    before = settings(template(CLIENT[client]))
    assert settings(mount_config(template(CLIENT[client]), int(client[0]))) == before | VALUES | more


def test_lines_end_where_the_client_ends_them() -> None:
    text = "# a\x0cconnAuthFile = x\u2028connAuthFile = y\nsysMgmtdHost = z\r\n"
    assert mount_config(text, 7).startswith(text.partition("\n")[0] + "\n")
    assert [each.expected for each in unknown_keys(text, None, 8)][:2] == ["sysMountSanityCheckMS", "connAuthFile"]


@pytest.mark.parametrize("major", [7, 8])
def test_the_stand_ins_templates_have_every_key(major: int) -> None:
    folder = ROOT / "images" / "lab-client" / "config"
    client, helperd = (folder / name for name in (f"beegfs-client-{major}.conf", "beegfs-helperd.conf"))
    assert unknown_keys(client.read_text("utf-8"), helperd.read_text("utf-8"), major) == ()


@pytest.mark.parametrize("major", [7, 8])
def test_a_template_of_the_stand_in_gets_the_values_and_no_other_key(major: int) -> None:
    text = (ROOT / "images" / "lab-client" / "config" / f"beegfs-client-{major}.conf").read_text("utf-8")
    found = settings(mount_config(text, major))
    assert found.keys() == settings(text).keys()
    assert found["sysMgmtdHost"] == "192.0.2.2"
    assert (found["sysMountSanityCheckMS"], found["connAuthFile"]) == ("0", "")
    assert (found["connDisableAuthentication"], found.get("logType", "syslog")) == ("true", "syslog")


def test_comments_and_order_stay() -> None:
    text = "# sysMgmtdHost = x\n\nlogLevel=3\n  sysMountSanityCheckMS=11000\n# end\nconnAuthFile = /x # y\n"
    lines = mount_config(text, 8).splitlines()
    assert lines[:3] == ["# sysMgmtdHost = x", "", "logLevel=3"]
    assert lines[3:6] == [f"{'sysMountSanityCheckMS':<29} = 0", "# end", f"{'connAuthFile':<29} ="]


def test_a_key_that_the_mount_needs_is_added_and_one_that_it_can_do_without_is_not() -> None:
    assert settings(mount_config("logLevel = 3", 8)) == {
        "logLevel": "3",
        "sysMgmtdHost": "192.0.2.2",
        "sysMountSanityCheckMS": "0",
        "connAuthFile": "",
        "connDisableAuthentication": "true",
    }
    assert settings(mount_config("logLevel = 3", 7)).keys() == {
        "logLevel",
        "sysMgmtdHost",
        "sysMountSanityCheckMS",
        "connAuthFile",
        "logType",
    }


def test_every_line_has_an_end_because_the_client_ignores_a_last_one_without() -> None:
    assert mount_config("connAuthFile\nsysMgmtdHost = x", 7).endswith("\n")
    assert mount_config("", 8).endswith("\n")


def test_each_line_of_a_repeated_key_is_replaced_and_a_key_alone_is_one() -> None:
    """The client takes the last one, and an empty value for a line without an equals sign."""
    text = mount_config("connAuthFile\nconnAuthFile = /a\nsysMgmtdHost =a\nsysMgmtdHost=b\n", 7)
    assert text.count("sysMgmtdHost ") == text.count(" = 192.0.2.2") == 2
    assert "/a" not in text


@pytest.mark.parametrize("client", CLIENT)
def test_a_vendors_templates_have_every_key(client: str) -> None:
    helperd = template(HELPERD[client]) if client in HELPERD else None
    assert unknown_keys(template(CLIENT[client]), helperd, int(client[0])) == ()


def test_the_keys_that_a_template_must_have_are_those_that_are_written() -> None:
    for major in (7, 8):
        added = settings(mount_config("", major)).keys()
        assert added == {each.expected for each in unknown_keys("", None, major)}


@pytest.mark.parametrize(
    ("major", "key", "instead"),
    [
        (8, "sysMountSanityCheckMS", "sysMountSanityCheckSecs"),
        (8, "connDisableAuthentication", "connDisableAuth"),
        (7, "logType", "logTypes"),
    ],
)
def test_a_key_that_the_template_has_under_another_name_is_named_with_that(major: int, key: str, instead: str) -> None:
    client = "8.3" if major == 8 else "7.4"
    (finding,) = unknown_keys(template(CLIENT[client].replace(key, instead)), template(HELPERD["7.4"]), major)
    assert (finding.check, finding.code) == ("mount", "config-key-unknown")
    assert (finding.expected, finding.actual) == (key, instead)
    assert "/etc/beegfs/beegfs-client.conf" in finding.message
    assert finding.message.endswith(f"the nearest key there is {instead}")


def test_a_key_that_nothing_is_like_is_named_alone() -> None:
    (finding,) = unknown_keys(template(CLIENT["7.4"]), "connAuthFile =\n", 7)
    assert (finding.expected, finding.actual) == ("logStdFile", "")
    assert "/etc/beegfs/beegfs-helperd.conf" in finding.message
    assert "beegfs-node" in finding.message


def test_a_key_in_a_comment_is_none() -> None:
    text = template(CLIENT["8.3"]).replace("sysMgmtdHost", "# sysMgmtdHost")
    (finding,) = unknown_keys(text, None, 8)
    assert (finding.expected, finding.actual) == ("sysMgmtdHost", "")


@pytest.mark.parametrize(("helperd", "major"), [(None, 7), ("", 8), (None, 8)])
def test_a_client_without_a_helper_daemon_needs_none_of_its_keys(helperd: str | None, major: int) -> None:
    assert unknown_keys(template(CLIENT["8.3"] + " logType"), helperd, major) == ()


def test_the_helper_daemons_keys_are_those_that_the_nodes_script_replaces() -> None:
    script = NODE_HELPERD.read_text("utf-8")
    (cases,) = re.findall(r"(?s)case \$key in\n(.*?)\n\s*esac", script)
    labels = set(re.findall(r"(?m)^\s*(\w+)\)", cases))
    compared = {each.expected for each in unknown_keys(template(CLIENT["7.4"]), "", 7)}
    # Of 7.x before 7.2.7 and 7.3.1 it is not wanted.
    assert compared == labels - {"connDisableAuthentication"}
    assert "connDisableAuthentication" in labels
