"""The summary of a step of GitHub Actions: counts, then failed and errored cells, then the others.

It is Markdown that is all HTML, as in actions/toolkit, packages/core/src/summary.ts: in a block of HTML without an
empty line nothing is read as Markdown, so that escaped text of logs stays text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from html import escape

from kmatrix.decide.cut_run import CutRun
from kmatrix.decide.open_releases import OpenRelease
from kmatrix.decide.report.model import NOT_BUILT
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import CellResult
from kmatrix.values.lock import ProfileLock
from kmatrix.values.text import plain_line

# In bytes of UTF-8; the runner takes no larger file (actions/runner, src/Runner.Worker/FileCommandManager.cs).
LIMIT = 1024 * 1024
_BAD = ("failed", "errored")
_SIGNS = {"passed": "✓", "failed": "✗", "errored": "!", "skipped": "↷"}
_RESERVE = 512


def github_summary(
    title: str,
    results: Iterable[CellResult],
    repeat: Callable[[CellResult], str],
    limit: int = LIMIT,
    cut: CutRun | None = None,
    pending: int = 0,
) -> str:
    """Return the summary of a run, or of a report.

    Args:
        title: the command and its profile.
        results: of its cells.
        repeat: returns the command that brings a cell to its verdict again, in backquotes; empty if none can.
        limit: in bytes; rows beyond it are left out, and counted in the last line. Empty where not even the counts fit.
        cut: what the run did not do, if it was cut short.
        pending: how many planned cells have no verdict, for a report.
    """
    results = sorted(results, key=lambda result: (result.verdict != "failed", result.cell))
    bad = [result for result in results if result.verdict in _BAD]
    rest = [result for result in results if result.verdict not in _BAD]
    head = f"<h3>{_text(title)}</h3>\n<p>{_counts(results, pending=pending)}</p>\n{_cut(cut) if cut else ''}"
    if len(head.encode()) + _RESERVE > limit:
        return ""
    made, left = _Limited(head, limit - _RESERVE), 0
    if bad:
        left += made.table(("cell", "verdict", "reason", "log", "command"), [_bad_row(each, repeat) for each in bad])
    if rest:
        made.add("\n<details><summary>Other cells</summary>\n")
        left += made.table(("cell", "verdict", "gates", "digest"), [_row(each) for each in rest])
        made.close("</details>\n")
    if left:
        cells = "1 cell is" if left == 1 else f"{left} cells are"
        made.close(f"\n<p>{cells} left out, as GitHub shows at most 1 MiB; build/results.json has all.</p>\n")
    return made.text + "\n"


def bundle_summary(title: str, bundles: Iterable[BundleResult], limit: int = LIMIT, cut: CutRun | None = None) -> str:
    """Return the summary of a run over bundles.

    Args:
        title: the command and its profile.
        bundles: their results.
        limit: in bytes; rows beyond it are left out. Empty where not even the counts fit.
        cut: what the run did not do, if it was cut short.
    """
    bundles = list(bundles)
    head = f"<h3>{_text(title)}</h3>\n<p>{_counts(bundles, 'bundles')}</p>\n{_cut(cut) if cut else ''}"
    if len(head.encode()) + _RESERVE > limit:
        return ""
    made = _Limited(head, limit - _RESERVE)
    rows = [
        _cells(
            _code(each.client), _verdict(each), str(len(each.kernels)), _code(each.digest or "-"), _code(each.reason)
        )
        for each in bundles
    ]
    if rows and made.table(("bundle", "verdict", "kernels", "digest", "reason"), rows):
        made.close("\n<p>Some are left out, as GitHub shows at most 1 MiB; build/bundles.json has all.</p>\n")
    return made.text + "\n"


def discovery_summary(
    title: str,
    pins: ProfileLock,
    news: Iterable[str],
    open_releases: Iterable[OpenRelease],
    limit: int = LIMIT,
) -> str:
    """Return the summary of a discovery: counts, the releases that nothing can be built for and why, then the news.

    Args:
        title: the command and its profile.
        pins: that it gave.
        news: a line for each change of the lock.
        open_releases: those that no exclude silences.
        limit: in bytes; rows beyond it are left out. Empty where not even the counts fit.
    """
    news, open_releases = list(news), list(open_releases)
    releases = {(pin.version, pin.arch) for pin in pins.releases}
    kernels = {kernel.release for pin in pins.releases for kernel in pin.kernels}
    counts = f"{len(releases)} releases with {len(kernels)} kernels; {len(open_releases)} open"
    head = f"<h3>{_text(title)}</h3>\n<p>{counts}</p>\n"
    if len(head.encode()) + _RESERVE > limit:
        return ""
    made, left = _Limited(head, limit - _RESERVE), 0
    rows = [
        _cells(
            f"{_code(each.release)} {each.arch}",
            _code(f"{each.code}: {each.reason}"),
            _code(each.next_step.replace("`", "")),
        )
        for each in open_releases
    ]
    rows += [
        _cells(f"{_code(each.name)} {each.arch}", "the channel gives no release", "correct it in matrix.yaml")
        for each in pins.empty_channels
    ]
    if rows:
        left += made.table(("open", "reason", "next step"), rows)
    if news:
        left += made.table(("news of the lock",), [_cells(_code(line)) for line in news])
    else:
        made.close("<p>The lock is up to date.</p>\n")
    if left:
        made.close(f"\n<p>{left} rows are left out, as GitHub shows at most 1 MiB; the lock has all.</p>\n")
    return made.text + "\n"


def _cut(cut: CutRun) -> str:
    # The reason may quote a service, and so stands in code.
    resume = _code(cut.resume.replace("`", ""))
    return f"<p>✗ The run was cut short: {_code(cut.reason)}; {_text(str(cut))}. {resume}</p>\n"


class _Limited:
    """A text that takes no more rows than have room."""

    def __init__(self, text: str, limit: int) -> None:
        self.text = text
        self._left = limit - len(text.encode())

    def add(self, text: str) -> bool:
        """Append a text if it has room, and return whether it has."""
        size = len(text.encode())
        if size > self._left:
            return False
        self.text += text
        self._left -= size
        return True

    def close(self, text: str) -> None:
        """Append a closing text, for which room was kept."""
        self.text += text

    def table(self, names: Iterable[str], rows: list[str]) -> int:
        """Append a table, and return how many of its rows have no room."""
        heads = "".join(f"<th>{name}</th>" for name in names)
        if not self.add(f"<table>\n<tr>{heads}</tr>\n"):
            return len(rows)
        left = len(rows) - sum(1 for _ in self._taken(rows))
        self.close("</table>\n")
        return left

    def _taken(self, rows: Iterable[str]) -> Iterator[str]:
        for row in rows:
            if not self.add(row):
                return
            yield row


def _counts(results: Iterable[CellResult] | Iterable[BundleResult], noun: str = "cells", pending: int = 0) -> str:
    verdicts = [result.verdict for result in results]
    found = [f"{sign} {verdicts.count(verdict)} {verdict}" for verdict, sign in _SIGNS.items() if verdict in verdicts]
    if pending:
        found.append(f"○ {pending} {NOT_BUILT}")
    return ", ".join(found) or f"no {noun}"


def _bad_row(result: CellResult, repeat: Callable[[CellResult], str]) -> str:
    again = repeat(result).strip("`")
    return _cells(
        _code(result.cell), _verdict(result), _code(result.reason), _code(result.log or "-"), _code(again or "-")
    )


def _row(result: CellResult) -> str:
    gates = ", ".join(name for name, verdict in result.gates.items() if verdict == "passed") or "-"
    return _cells(_code(result.cell), _verdict(result), _code(gates), _code(result.digest or "-"))


def _verdict(result: CellResult | BundleResult) -> str:
    return f"{_SIGNS[result.verdict]} {result.verdict}"


def _cells(*texts: str) -> str:
    return "<tr>" + "".join(f"<td>{text}</td>" for text in texts) + "</tr>\n"


def _code(text: str) -> str:
    # GitHub makes no link and no mention of what stands in code.
    return f"<code>{_text(text)}</code>"


def _text(text: str) -> str:
    return escape(plain_line(text))
