"""docs/findings.md lists every finding code and every rule of the static gate, and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from kmatrix.decide import checks
from kmatrix.decide.build_log import code_of
from tests.unit.support.finding_codes import finding_codes, package_sources

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
CODES = finding_codes(package_sources(ROOT / "scripts" / "kmatrix"))
# Codes of boot reports that have nothing to object to.
NO_FINDING = {"booted", "mounted", "secure-booted"}
SCRIPTS = [ROOT / "images" / "beegfs-client" / name for name in ("unpack-packages", "build-module")]
ENTRY = re.compile(
    r"^#{3,4} ([a-z0-9-]+)\n\nFound by: ([a-z0-9, -]+)\. Verdict: (failed|errored|warning)\.\n(.+?)\nDo: (.+?)\n$", re.S
)
RULE = re.compile(r"^### Rule (\d+): (.+)$", re.M)


def entries(page: str) -> dict[str, tuple[str, str]]:
    """Return the place and the verdict of each code of a page; a heading in small letters is a code."""
    parts = re.split(r"(?m)^(?=#{2,4} )", page)
    found = {}
    for part in parts:
        if re.match(r"#{3,4} [a-z]", part):
            match = ENTRY.match(part if part.endswith("\n") else part + "\n")
            assert match, f"not of the form of an entry:\n{part}"
            assert match[1] not in found, f"{match[1]} stands twice"
            found[match[1]] = (match[2], match[3])
    return found


def script_codes(word: str) -> set[str]:
    """Return the codes that the image's scripts give to their function `word`."""
    found = {code for script in SCRIPTS for code in re.findall(rf'\b{word} "([a-z-]+): ', script.read_text("utf-8"))}
    assert found
    return found


def in_cluster_codes() -> set[str]:
    """Return the codes with which `fetch-packages` refuses: it runs only in a build in the cluster."""
    script = ROOT / "images" / "beegfs-client" / "fetch-packages"
    found = set(re.findall(r'Refused\(\s*"([a-z-]+): ', script.read_text("utf-8")))
    assert len(found) >= 8
    return found


def of_modules(pattern: str) -> set[str]:
    return {each.code for each in CODES.used if re.search(pattern, each.module)} - NO_FINDING


def test_every_place_that_gives_a_code_shows_it() -> None:
    assert CODES.unresolved == ()


def test_every_code_of_the_package_and_of_its_scripts_is_documented_and_no_other() -> None:
    given = of_modules("") | script_codes("stopped") | in_cluster_codes()
    assert len(given) > 80
    assert sorted(given ^ entries(PAGE).keys()) == []


def test_a_code_is_found_where_the_page_has_it() -> None:
    for code, (place, _) in entries(PAGE).items():
        if code in of_modules("decide/checks/|decide/formats/"):
            assert re.fullmatch(r"static gate, rule \d+", place), code
        elif code in of_modules("decide/guest_report"):
            assert place == "boot gate, mount gate", code
        elif code in of_modules("decide/boot"):
            assert place == "boot gate", code
        elif code in of_modules("decide/mount|gates/mount"):
            assert place == "mount gate", code
        elif code in of_modules("secure_boot"):
            assert place == "secure-boot gate", code


def test_the_verdict_of_a_boot_is_the_one_the_page_has() -> None:
    reports = {(each.code, each.verdict) for each in CODES.used if each.verdict and each.code not in NO_FINDING}
    documented = entries(PAGE)
    assert [(code, verdict) for code, verdict in sorted(reports) if documented[code][1] != verdict] == []
    assert {verdict for place, verdict in documented.values() if place.startswith("static gate")} == {"failed"}


def test_the_scripts_errors_are_codes_of_their_own_and_their_stops_are_errored() -> None:
    assert {code_of(f"build-module: error: {code}: text") for code in script_codes("die")} == script_codes("die")
    documented = entries(PAGE)
    assert {documented[code][1] for code in script_codes("die")} == {"failed"}
    assert {documented[code][1] for code in script_codes("stopped")} == {"errored"}


def test_a_code_of_a_build_in_the_cluster_is_documented_as_such() -> None:
    of_cluster = {code for code, (place, _) in entries(PAGE).items() if place == "build in the cluster"}
    assert of_cluster == in_cluster_codes()


def test_the_package_names_the_rules_of_the_page() -> None:
    assert checks.__doc__
    on_page = [(int(number), name) for number, name in RULE.findall(PAGE)]
    in_package = re.findall(r"^- Rule (\d+): (.+?) \(", checks.__doc__, re.M)
    assert on_page == [(int(number), name) for number, name in in_package]
    assert [number for number, _ in on_page] == list(range(1, 13))


def test_a_code_stands_below_its_rule_and_each_rule_names_a_source() -> None:
    static = PAGE[PAGE.index("\n## Static gate") : PAGE.index("\n## Boot gate")]
    for part in re.split(r"(?m)^(?=### )", static)[1:]:
        heading = RULE.match(part)
        assert heading, part
        assert "\nSource: `" in part or "\nSource: kmod" in part, heading[0]
        assert {place for place, _ in entries(part).values()} <= {f"static gate, rule {heading[1]}"}


def test_every_rule_that_the_code_mentions_is_listed() -> None:
    mentioned = {
        int(number)
        for text in package_sources(ROOT / "scripts" / "kmatrix" / "decide").values()
        for numbers in re.findall(r"\b[Rr]ules? ((?:\d+(?:, | and | to )?)+)", text)
        for number in re.findall(r"\d+", numbers)
    }
    assert mentioned <= {int(number) for number, _ in RULE.findall(PAGE)}
    assert len(mentioned) > 8


def test_links_within_the_page_lead_to_a_heading() -> None:
    anchors = Counter(
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"(?m)^#+ (.+)$", PAGE)
    )
    assert [link for link in re.findall(r"\]\(#([^)]+)\)", PAGE) if anchors[link] != 1] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Finding("x", "a-b", "m")', {"a-b"}),
        ('Finding("x", code="a-b", message="m")', {"a-b"}),
        ('values.Finding("x", "a" if y else "b", "m")', {"a", "b"}),
        ('BootReport("failed", "a", "m")', {"a"}),
        ('class E:\n  def f(self):\n    raise MalformedElfError("a", "m")', {"a"}),
        ('CODE = "a"\ndef f():\n  return Finding("x", CODE, "m")', {"a"}),
        ('def f(m, code):\n  return Finding("x", code, m)\nf("m", "a")\nf("m", code="b")', {"a", "b"}),
        ('def f(code):\n  return g(code)\ndef g(code):\n  return Finding("x", code, "m")\nf("a")', {"a"}),
        ('for code, n in (("a", 1), ("b", 2)):\n  Finding("x", code, "m")', {"a", "b"}),
        ('T = {"s": "a", "t": "b"}\ndef f():\n  return [Finding("x", c, n) for n, c in T.items()]', {"a", "b"}),
        ('C = Literal["a", "b"]\ndef f() -> C: ...\nFinding("x", f(), "m")', {"a", "b"}),
        ('C = Literal["a", "b"]\ndef f(code: C):\n  return Finding("x", code, "m")', {"a", "b"}),
        ('Finding("x", report.code, "m")', set()),
        ("Finding(**stored)", set()),
        ('replace(finding, code="a")', {"a"}),
    ],
)
def test_a_code_is_found_however_it_is_given(text: str, expected: set[str]) -> None:
    codes = finding_codes({"module": text})
    assert codes.unresolved == ()
    assert {each.code for each in codes.used} == expected


@pytest.mark.parametrize(
    "text",
    [
        'Finding("x", f"loaded-{key}", "m")',
        'Finding("x", name, "m")',
        'Finding("x", lookup(name), "m")',
        'Finding("x", "a" + name, "m")',
        'Finding("x", codes[0], "m")',
        "Finding(*given)",
        'Finding("x", **rest)',
        'def f(code):\n  return Finding("x", code, "m")',
        'def f(code):\n  return Finding("x", code, "m")\nf("a")\nf(b)',
        'rows = [("a", 1)]\nrows.append(row)\nfor code, n in rows:\n  Finding("x", code, "m")',
        'def f() -> str: ...\nFinding("x", f(), "m")',
        "replace(finding, code=name)",
    ],
)
def test_a_code_that_cannot_be_told_is_reported(text: str) -> None:
    (reported,) = finding_codes({"module": text}).unresolved
    assert reported.startswith("module:")


def test_a_private_function_is_looked_up_in_its_own_module() -> None:
    own = 'def _f(code):\n  return Finding("x", code, "m")\n_f("a")'
    codes = finding_codes({"one": own, "two": own.replace('"a"', '"b"')})
    assert {(each.code, each.module) for each in codes.used} == {("a", "one"), ("b", "two")}
