"""The documents: links lead somewhere, pages stay short, and the commands, options, files and versions named exist."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from kmatrix.cli import main
from kmatrix.decide.formats.matrix_yaml import read_matrix
from tests.unit.support.documents import ROOT, code_blocks, documents, section, text_of

# The longest that a page may be, in words as `wc -w` counts them: everything between blanks, code and tables included.
MOST_WORDS = {"README.md": 1000, "deploy/README.md": 2500}
# Code blocks and code spans in these pages are about the product; those under tests/ and images/ about themselves.
PAGES = [page for page in documents() if not page.startswith(("tests/", "images/"))]
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE_SPAN = re.compile(r"`[^`\n]+`")


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives a page: of its headings, and those stated in HTML."""
    prose = re.sub(r"^ {4,}.*$", "", text, flags=re.MULTILINE)
    found: set[str] = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for title in re.findall(r"^#{1,6} (.+)$", prose, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain).strip().lower().replace(" ", "-")
        number = 0
        while (f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(f"{slug}-{number}" if number else slug)
    return found


def leads_somewhere(page: str, link: str) -> bool:
    """Whether a link of a page leads to a file of this repository and, if it names one, an anchor there."""
    name, _, anchor = unquote(link).partition("#")
    target = (ROOT / page).parent.joinpath(name).resolve() if name else ROOT / page
    if not target.is_relative_to(ROOT):
        return False
    return target.exists() and (not anchor or anchor in anchors(target.read_text(encoding="utf-8")))


def broken_links(page: str, text: str) -> list[str]:
    """Return the relative links of a page whose file or anchor does not exist."""
    links = [link for link in _LINK.findall(_CODE_SPAN.sub("", text)) if not re.match(r"[a-z]+:", link)]
    return [link for link in links if not leads_somewhere(page, link)]


@pytest.mark.parametrize("page", documents())
def test_every_relative_link_leads_to_a_file_and_an_anchor(page: str) -> None:
    assert broken_links(page, text_of(page)) == []


@pytest.mark.parametrize(
    "link", ["docs/nowhere.md", "docs/gates.md#nowhere", "#nowhere", "../outside.md", "docs/img/nowhere.svg"]
)
def test_a_link_that_leads_nowhere_is_found(link: str) -> None:
    assert broken_links("README.md", f"see [it]({link}), [this](docs/gates.md#the-record)") == [link]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_reached_from_the_readme(page: str) -> None:
    reached, todo = set(), ["README.md"]
    while todo:
        name = todo.pop()
        if name in reached or not (ROOT / name).is_file() or not name.endswith(".md"):
            continue
        reached.add(name)
        for link in _LINK.findall(text_of(name)):
            target = (ROOT / name).parent.joinpath(link.partition("#")[0]).resolve()
            if target.is_relative_to(ROOT):
                todo.append(target.relative_to(ROOT).as_posix())
    assert page in reached


@pytest.mark.parametrize(("page", "most"), MOST_WORDS.items())
def test_a_page_has_at_most_so_many_words(page: str, most: int) -> None:
    assert len(text_of(page).split()) <= most


def commands_of(block: str) -> list[list[str]]:
    """Return the words of each `nox -s …` in a text, up to the end of its command."""
    return [found.split() for found in re.findall(r"\bnox -s ([^\n`#|&;]+)", block)]


def named_commands() -> list[tuple[str, list[str]]]:
    return [
        (page, words)
        for page in PAGES
        for block in [*code_blocks([page]), *_CODE_SPAN.findall(text_of(page))]
        for words in commands_of(block)
    ]


@cache
def sessions() -> frozenset[str]:
    done = subprocess.run([sys.executable, "-m", "nox", "--list"], cwd=ROOT, capture_output=True, text=True, check=True)
    return frozenset(re.findall(r"^[*-] ([\w-]+)", done.stdout, re.MULTILINE))


@cache
def help_of(*command: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([*command, "--help"])
    return said.getvalue()


def test_every_session_that_is_named_exists() -> None:
    named = named_commands()
    assert len(named) >= 30
    for page, words in named:
        before = words[: words.index("--")] if "--" in words else words
        for word in before:
            assert word in sessions() or not re.fullmatch(r"[a-z-]+", word), f"{page}: nox -s {' '.join(words)}"


def test_every_option_of_a_command_exists() -> None:
    seen = set()
    for page, words in named_commands():
        if "--" not in words or words[0] in ("tests", "bench", "lint"):
            continue
        for option in [word.partition("=")[0] for word in words[words.index("--") + 1 :] if word.startswith("--")]:
            seen.add(option)
            known = set(re.findall(r"--[a-z][a-z-]*", help_of(words[0])))
            assert option in known, f"{page}: nox -s {' '.join(words)}"
    assert {"--forget", "--check", "--only", "--no-push"} <= seen


def test_every_option_in_prose_exists() -> None:
    commands = sessions() - {"tests", "lint", "bench"}
    known = {option for command in commands for option in re.findall(r"--[a-z][a-z-]*", help_of(command))}
    assert {"--profile", "--shell"} <= known
    # Options of oc, cosign and skopeo, and of strip in the page of findings.
    others = {"--dry-run", "--strip-debug", "--new-bundle-format", "--filter-by-os", "--override-arch"}
    removed = {"--way", "--push-unbooted"}
    for page in PAGES:
        allowed = known | others | (removed if page == "CHANGELOG.md" else set())
        spans = [span.strip("`") for span in _CODE_SPAN.findall(text_of(page))]
        named = {span.split()[0].partition("=")[0] for span in spans if re.match(r"--[a-z]", span)}
        assert named <= allowed, page


_PLACES = (ROOT, ROOT / "scripts" / "kmatrix")
_PATH = re.compile(r"(?:[\w.-]+/)+[\w.*-]*|[\w-]+\.(?:py|yaml|toml|lock)")
_TOP = {path.name for path in ROOT.iterdir()} | {path.name for path in (ROOT / "scripts" / "kmatrix").iterdir()}
# Written by a run, or by `discover`.
_MADE = ("build/", "matrix.lock", "dockerfiles/lab")


def missing_paths(text: str) -> list[str]:
    """Return the paths of this project that a page names in code spans and that do not exist."""
    missing = []
    for span in _CODE_SPAN.findall(re.sub(r"^ {4,}.*$", "", text, flags=re.MULTILINE)):
        name = span.strip("`")
        if not _PATH.fullmatch(name) or name.startswith(_MADE) or "*" in name:
            continue
        if "/" in name and name.partition("/")[0] not in _TOP:
            continue
        # A module may have become a package of the same name.
        if not any((place / name).exists() or (place / f"{name.rstrip('/')}.py").exists() for place in _PLACES):
            missing.append(name)
    return missing


# The page of findings names files of the kernel, after which its rules are made.
@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/findings.md"])
def test_every_path_that_is_named_exists(page: str) -> None:
    assert list(missing_paths(text_of(page))) == []


def test_every_page_that_a_program_names_exists() -> None:
    """Errors, scripts and templates send people to pages; other projects' pages that are cited lie deeper."""
    folders = ("scripts", "deploy", "images", "bench", ".github", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    named = set()
    for path in [*files, ROOT / "matrix.yaml", ROOT / "noxfile.py"]:
        if path.suffix not in (".md", ".pyc"):
            named |= set(
                re.findall(r"\b(?:docs|deploy|tests|dockerfiles)/[\w-]+\.md\b", path.read_text(errors="replace"))
            )
    assert {"docs/configuration.md", "deploy/README.md"} <= named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_a_path_that_does_not_exist_is_found() -> None:
    text = "`stages/nowhere.py`, `scripts/kmatrix/decide/nowhere`, `stages/run.py`, `tests/golden`, `quay.io/your-team`"
    assert missing_paths(text) == ["stages/nowhere.py", "scripts/kmatrix/decide/nowhere"]


def test_a_newcomer_finds_where_a_cell_becomes_an_image() -> None:
    named = re.findall(r"`(scripts/kmatrix/[\w/.]+)`", section("docs/architecture.md", "Where a cell becomes an image"))
    assert len(named) == 3
    assert "def run_cell(" in text_of(named[0])
    assert "def build_cell(" in text_of(named[1])
    assert "def build(" in text_of(named[2])


def test_the_support_matrix_is_that_of_the_matrix_file() -> None:
    matrix = read_matrix((ROOT / "matrix.yaml").read_text(encoding="utf-8"))
    # The lab with both architectures: docs/lab.md describes it.
    profiles = {name: profile for name, profile in matrix.profiles.items() if name != "lab-aarch64"}
    rows = re.findall(
        r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", section("README.md", "Support matrix"), re.MULTILINE
    )
    stated = {
        name: (re.findall(r"\d+\.\d+", releases), re.findall(r"\d+\.\d+\.\d+", clients))
        for name, releases, clients in rows
    }
    assert stated == {
        name: ([channel.minor for channel in profile.channels], [str(client) for client in profile.clients])
        for name, profile in profiles.items()
    }
    assert {arch for profile in profiles.values() for arch in profile.arches} == {"x86_64"}
    assert {flavour for profile in profiles.values() for flavour in profile.flavours} == {"standard", "rt"}


def test_every_key_of_a_profile_is_explained() -> None:
    from kmatrix.values.matrix import Profile

    rows = re.findall(r"^\| (`[^|]+) \|", section("docs/configuration.md", "A profile"), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(Profile.model_fields)


def test_every_override_has_its_row() -> None:
    from kmatrix.values.overrides import NAMES, option, variable

    rows = re.findall(
        r"^\| `(\w+)` \| `(--[\w-]+)[^`]*` \| `(\w+)` \|$", section("docs/configuration.md", "Overrides"), re.MULTILINE
    )
    assert rows == [(name, option(name), variable(name)) for name in NAMES]


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "img").glob("*.svg")), ids=lambda path: path.name)
def test_a_picture_is_readable_light_and_dark_and_describes_itself(picture: Path) -> None:
    text = text_of(f"docs/img/{picture.name}")
    tree = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert tree.tag == f"{space}svg"
    assert tree.findtext(f"{space}title")
    assert tree.findtext(f"{space}desc")
    assert tree.findall(f".//{space}text"), "text stays text"
    assert "prefers-color-scheme: dark" in text
    used = {name for item in tree.iter() for name in (item.get("class") or "").split()}
    light, _, dark = text.partition("prefers-color-scheme: dark")
    for name in used - {"name", "head"}:
        assert re.search(rf"\.{name}\b[^}}]*\{{", light), name
        assert re.search(rf"\.{name}\b[^}}]*\{{", dark), name
    assert re.search(r"(https?:)?//(?!www\.w3\.org/2000/svg)", text) is None, "it loads nothing from elsewhere"


def test_every_picture_is_shown_with_its_text() -> None:
    shown = {
        link.rpartition("/")[2]: words
        for page in PAGES
        for words, link in re.findall(r"!\[([^\]]*)\]\(([^)]+\.svg)\)", text_of(page))
    }
    assert set(shown) == {path.name for path in (ROOT / "docs" / "img").glob("*.svg")}
    assert all(shown.values())
