"""Part `signing`: the time that signing and attesting adds to a cell; and, for part `boot`, the gate secure-boot's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.aims import Measures, seconds_per_cell
from bench.machine import load
from bench.setting import Setting
from bench.site import CLIENTS, Site, cold_site
from kmatrix.lab.state import lab_state
from kmatrix.values.errors import ToolError
from kmatrix.values.gate_record import BOOT_GATE, SECURE_BOOT_GATE

# A cell's module is signed in it, its image, and the statements about that.
_SIGN = "sign"
_ROLES = ("newer", "real_time", "next_line")


def measure_signing(setting: Setting) -> tuple[Measures, dict[str, Any]]:
    """Return the seconds that signing and attesting take per cell of the lab's matrix, and those of every stage.

    Raises:
        ToolError: the run failed, or did not sign.
    """
    before = load()
    with cold_site(replace(setting, weight=0), signed=True) as site:
        setting.say(f"signing: a matrix of {len(site.recipes)} cells, without boots")
        jobs = ("--jobs", str(setting.jobs))
        setting.tool("signing-build", "build", "--force", *jobs, root=site.root, module="bench.without_boot")
        stages = {name: cell["stages"] for name, cell in _cells(site).items()}
    if unsigned := sorted(name for name, found in stages.items() if _SIGN not in found):
        raise ToolError(f"the run did not sign {', '.join(unsigned)}", "Report this as a bug of the bench.")
    seconds = seconds_per_cell([*stages.values()], _SIGN)
    return Measures(sign_seconds_per_cell=round(seconds, 3)), {"load_before": before, "stages": stages}


def measure_secure_boot(setting: Setting) -> tuple[float, dict[str, Any]]:
    """Return the time of the gate secure-boot as a multiple of the gate boot's, over one cell of each kind of kernel.

    Raises:
        ToolError: the run failed, or a cell did not pass one of the two gates.
    """
    kernels = lab_state(setting.layout)["kernels"]
    names = [f"{CLIENTS[-1]}-{kernels[role]}" for role in _ROLES]
    with cold_site(replace(setting, weight=0), signed=True) as site:
        setting.say(f"boot: {len(names)} signed cells, with the gates {BOOT_GATE} and {SECURE_BOOT_GATE}")
        only = [word for name in names for word in ("--only", name)]
        # One at a time: a boot has the machine to itself.
        setting.tool("secure-boot", "build", "--force", "--jobs", "1", *only, root=site.root)
        cells = _cells(site)
    for name in names:
        passed = cells[name]["gates"]
        if any(passed.get(gate) != "passed" for gate in (BOOT_GATE, SECURE_BOOT_GATE)):
            raise ToolError(f"{name} did not pass {BOOT_GATE} and {SECURE_BOOT_GATE}", "Read its log.")
    stages = [cells[name]["stages"] for name in names]
    ratio = seconds_per_cell(stages, SECURE_BOOT_GATE) / seconds_per_cell(stages, BOOT_GATE)
    return round(ratio, 3), dict(zip(names, stages, strict=True))


def _cells(site: Site) -> Mapping[str, Mapping[str, Any]]:
    content = json.loads((site.root / "build" / "results.json").read_text(encoding="utf-8"))
    return {entry["cell"]: entry for entry in content["cells"]}
