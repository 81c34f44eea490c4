"""`nox -s bench`: runs the parts, writes build/bench.json, and highlights missed aims."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.aims import FULL_WEIGHT, Measures, judge
from bench.boots import measure_boots
from bench.cold import measure_cold
from bench.discovery import measure_discovery
from bench.machine import machine
from bench.planning import measure_planning
from bench.published import measure_second, measure_sizes, publish_all
from bench.report import print_report
from bench.report_site import measure_report
from bench.setting import Setting
from bench.signing import measure_signing
from bench.watch import measure_watch
from kmatrix.commands.guard import guarded
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import LAB, select_profile
from kmatrix.commands.run import alone, ensure_lab
from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.stages.run import default_jobs
from kmatrix.values.errors import Exit, InputError
from kmatrix.values.overrides import overrides_from_environment

_PARTS: dict[str, Callable[[Setting], tuple[Measures, dict[str, Any]]]] = {
    "planning": measure_planning,
    "discovery": measure_discovery,
    "second": measure_second,
    "sizes": measure_sizes,
    "boot": measure_boots,
    "cold": measure_cold,
    "watch": measure_watch,
    "signing": measure_signing,
    "report": measure_report,
}
_NEED_PUBLISHED = {"second", "sizes", "boot"}
SCHEMA = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; a missed aim does not change the exit code (see `kmatrix.values.errors.Exit`)."""
    console = Console(stderr=True)
    return guarded(console, lambda: _bench(arguments, console), "Interrupted. Nothing was written.")


def _bench(arguments: Sequence[str] | None, console: Console) -> int:
    options = _parser().parse_args(arguments)
    root = Path.cwd()
    if not (root / "matrix.yaml").is_file():
        raise InputError(f"{root} has no matrix.yaml", "Run this command in the project's folder.")
    call = Invocation(root, console, LAB, overrides_from_environment(os.environ), command="bench")
    chosen = select_profile(call)
    parts = [name for name in _PARTS if not options.only or name in options.only]
    with DockerEngine(secrets.token_hex(6)) as engine:
        call.say(f"engine: {engine.in_use()}")
        setting = Setting(call, chosen, engine, options.jobs or default_jobs(), options.weight)
        # Released before the measured runs, which lock this checkout themselves.
        with alone(call):
            ensure_lab(call, chosen, engine)
        measures, raw = _measured(setting, parts)
    path = root / "build" / "bench.json"
    judged = judge(measures)
    aims = {entry.aim.name: {"aim": entry.aim.text, "met": entry.met} for entry in judged}
    content: dict[str, Any] = {"schema": SCHEMA, **asdict(measures), "aims": aims, "raw": raw}
    if options.only:
        content = _merged(path, content)
    write_atomically(path, json.dumps(content, indent=1) + "\n")
    facts = raw["machine"]
    print_report(console, judged, options.weight if "cold" in parts else None, facts["load"] / facts["cores"])
    sys.stdout.write(f"{path}\n")
    return Exit.OK


def _merged(path: Path, new: dict[str, Any]) -> dict[str, Any]:
    """Return new measurements, completed with earlier ones of parts that were not run; `raw` dates each part."""
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return new
    if old.get("schema") != SCHEMA:
        return new
    kept = {key: value for key, value in new.items() if value is not None}
    aims = {name: aim if aim["met"] is not None else old["aims"].get(name, aim) for name, aim in new["aims"].items()}
    return {**old, **kept, "aims": aims, "raw": {**old["raw"], **new["raw"]}}


def _measured(setting: Setting, parts: Sequence[str]) -> tuple[Measures, dict[str, Any]]:
    measures = Measures()
    raw: dict[str, Any] = {"machine": machine(setting.engine), "jobs": setting.jobs, "parts": list(parts)}
    if _NEED_PUBLISHED & set(parts):
        publish_all(setting)
    for name in parts:
        found, raw[name] = _PARTS[name](setting)
        both = {key: (getattr(measures, key), value) for key, value in asdict(found).items() if value is not None}
        # Two parts measure peak memory; the larger value counts.
        measures = replace(measures, **{key: max(new, old or 0) for key, (old, new) in both.items()})
    return measures, raw


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="Measure the tool against its aims.", allow_abbrev=False)
    parser.add_argument(
        "--weight",
        metavar="N",
        type=_count,
        default=FULL_WEIGHT,
        help=f"compile weight of the stand-in client, in units of about a CPU-second (default: {FULL_WEIGHT})",
    )
    parser.add_argument(
        "--only",
        metavar="PART",
        choices=_PARTS,
        action="append",
        help=f"run only this part ({', '.join(_PARTS)}); may be repeated",
    )
    parser.add_argument("--jobs", metavar="N", type=_positive, help="cells at a time (default: one per core)")
    return parser


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a non-negative integer")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)
