"""The Atom feed: the rules of RFC 4287 as w3c/feedvalidator checks them, which entries it has, and hostile text."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from kmatrix.decide.report.feed import NEWEST, feed, newly_published
from kmatrix.decide.report.model import Report
from kmatrix.decide.report.moments import in_words, moment
from kmatrix.decide.report.site import site_files
from tests.unit.support.made_up_report import NEWER, cell, digest_of, large_report, logs_of, small_report

ATOM = "{http://www.w3.org/2005/Atom}"
# RFC 3339, as section 3.3 demands: an upper-case T, and an upper-case Z where there is no offset.
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})")
# An IRI with a scheme (4.2.6), of the form that this feed uses.
_ID = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def faults(text: str) -> list[str]:
    """Return the rules that a feed breaks: src/feedvalidator/feed.py, entry.py, link.py and validators.py."""
    root = ElementTree.fromstring(text)
    found = [] if root.tag == f"{ATOM}feed" else ["the root is no feed"]
    author = root.find(f"{ATOM}author/{ATOM}name") is not None
    parts = [root, *root.findall(f"{ATOM}entry")]
    for part in parts:
        for name in ("title", "id", "updated"):
            if len(part.findall(f"{ATOM}{name}")) != 1:
                found.append(f"{name} is not there once")
        if not (part.findtext(f"{ATOM}title") or "").strip():
            found.append("a title is blank")
        if not _ID.fullmatch(part.findtext(f"{ATOM}id") or ""):
            found.append("an id is no URN")
        if not _TIME.fullmatch(part.findtext(f"{ATOM}updated") or ""):
            found.append("updated is no time")
        links = [(each.get("rel", "alternate"), each.get("type")) for each in part.findall(f"{ATOM}link")]
        if len(set(links)) != len(links):
            found.append("two links of one kind")
        if any(not each.get("href") for each in part.findall(f"{ATOM}link")):
            found.append("a link without href")
    if "self" not in [each.get("rel") for each in root.findall(f"{ATOM}link")]:
        found.append("no link to itself")
    for entry in parts[1:]:
        if not author and entry.find(f"{ATOM}author/{ATOM}name") is None:
            found.append("no author")
        if entry.find(f"{ATOM}summary") is None and entry.find(f"{ATOM}content") is None:
            found.append("no text")
    ids = [part.findtext(f"{ATOM}id") for part in parts]
    if len(set(ids)) != len(ids):
        found.append("an id twice")
    known = {"author", "entry", "generator", "id", "link", "name", "subtitle", "summary", "title", "updated", "feed"}
    return [*found, *(each.tag for each in root.iter() if each.tag.removeprefix(ATOM) not in known)]


def entries(report: Report) -> list[ElementTree.Element]:
    return ElementTree.fromstring(feed(report)).findall(f"{ATOM}entry")


@pytest.mark.parametrize(
    "report", [small_report(), large_report(4, 30), replace(small_report(), cells=())], ids=["small", "large", "none"]
)
def test_the_feed_keeps_the_rules_of_atom(report: Report) -> None:
    assert faults(feed(report)) == []


@pytest.mark.parametrize("name", ["id", "updated", "title", "author", "summary", "link"])
def test_the_rules_notice_what_is_missing(name: str) -> None:
    root = ElementTree.fromstring(feed(small_report()))
    for part in [root, *root.findall(f"{ATOM}entry")]:
        for each in part.findall(f"{ATOM}{name}"):
            part.remove(each)
    assert faults(ElementTree.tostring(root, encoding="unicode"))


def test_published_images_alone_are_in_it_newest_first() -> None:
    cells = tuple(
        replace(each, pushed=f"2026-11-{10 + number:02}T10:00:00Z" if each.pushed else "")
        for number, each in enumerate(small_report().cells)
    )
    found = entries(replace(small_report(), cells=cells))
    times = [each.findtext(f"{ATOM}updated") or "" for each in found]
    assert len(found) == sum(bool(each.digest) for each in cells) == 6
    assert times == sorted(times, reverse=True)
    root = ElementTree.fromstring(feed(replace(small_report(), cells=cells)))
    assert root.findtext(f"{ATOM}updated") == times[0]
    newest = next(each for each in cells if each.pushed == times[0])
    assert f"{newest.image}@{newest.digest}" in (found[0].findtext(f"{ATOM}summary") or "")


def test_gates_of_a_later_image_that_failed_are_not_those_of_the_published_one() -> None:
    published = cell("8.3.1", NEWER)
    summaries = []
    for own in (published, replace(published, verdict="failed", gates={"static": "passed", "boot": "failed"})):
        (entry,) = entries(replace(small_report(), cells=(own,)))
        summaries.append(entry.findtext(f"{ATOM}summary") or "")
    assert summaries[0].endswith(" Passed: static, boot, mount.")
    assert summaries[1] == summaries[0].removesuffix(" Passed: static, boot, mount.")


def test_a_feed_has_no_more_than_the_newest() -> None:
    assert len(entries(large_report(4, 30))) == NEWEST


def test_a_time_that_is_none_leaves_an_image_out() -> None:
    assert (
        newly_published([replace(cell("8.3.1", NEWER), pushed="soon"), replace(cell("8.3.1", NEWER), pushed="")]) == ()
    )


def test_an_id_stays_until_another_digest_is_published() -> None:
    def the_id(report: Report) -> str | None:
        return entries(report)[0].findtext(f"{ATOM}id")

    own = cell("8.3.1", NEWER)
    report = replace(small_report(), cells=(own,))
    again = replace(report, made="2027-01-01T00:00:00Z", cells=(replace(own, verdict="skipped", reason="x"),))
    assert the_id(report) == the_id(again)
    assert the_id(report) != the_id(replace(report, cells=(replace(own, digest=digest_of(99)),)))
    assert the_id(report) != the_id(replace(report, target="quay.example/other"))


def test_every_link_leads_to_a_file_of_the_site() -> None:
    files = dict(site_files(small_report(), logs_of))
    root = ElementTree.fromstring(files["feed.xml"])
    assert {each.attrib["href"] for each in root.iter(f"{ATOM}link")} <= files.keys()


def test_hostile_text_stays_text() -> None:
    nasty = "<script>alert(1)</script>]]>&\x00\x1b[31m\u202e\ud800"
    odd = replace(cell("8.3.1", NEWER), client=nasty, kernel=nasty, cell=nasty, releases=(nasty,), image=nasty)
    report = replace(small_report(), cells=(odd,), version=nasty)
    assert faults(feed(report)) == []
    assert "<script>alert(1)</script>]]>&" in (entries(report)[0].findtext(f"{ATOM}title") or "")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_beyond_the_calendar_is_none(text: str) -> None:
    assert moment(text) is None


def test_times_without_a_zone_are_utc() -> None:
    assert moment("2026-01-01T00:00:00") == moment("2026-01-01T00:00:00Z") == moment("2026-01-01T02:00:00+02:00")
    assert moment("") is moment("never") is None


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(0, "0 min"), (45.4, "45 min"), (59.6, "1 h"), (165, "2 h 45 min"), (2880, "2 d"), (4560, "3 d 4 h")],
)
def test_a_span_has_two_units_at_most(minutes: float, words: str) -> None:
    assert in_words(minutes) == words
