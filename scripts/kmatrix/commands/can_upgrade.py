"""can-upgrade: answer from lock, results and bundles whether an update leaves a node without its module."""

from __future__ import annotations

import json

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.pins import pins_for
from kmatrix.commands.profile import SelectedProfile, select_profile
from kmatrix.decide.can_upgrade import can_upgrade as decide
from kmatrix.decide.plan import make_plan
from kmatrix.decide.upgrade_answer import Answer, Known, Question, can_upgrade_json
from kmatrix.effects.disk.bundles import read_bundles
from kmatrix.effects.disk.results import read_results
from kmatrix.stages.gates import gates_of_profile
from kmatrix.values.errors import Exit, InputError
from kmatrix.values.names import ARCHES, FLAVOURS, ReleaseVersion


def can_upgrade(call: Invocation) -> Exit:
    """Print one line per kernel on the route, and whether the update is safe; no service is asked.

    Raises:
        InputError: an option is missing or names what the profile or its lock does not have.
    """
    chosen = select_profile(call)
    pins = pins_for(call, chosen)
    question = _question(call, chosen)
    known = Known(
        profile_name=chosen.name,
        pins=pins,
        plan=make_plan(chosen.name, chosen.effective, pins),
        results=read_results(call.results_path, chosen.name),
        bundle=read_bundles(call.bundles_path, chosen.name).get(str(question.client)),
        gates=gates_of_profile(chosen.effective),
    )
    answer = decide(question, known)
    if call.json:
        print(json.dumps(can_upgrade_json(answer, known), indent=1))
    else:
        _print_lines(answer)
    _say_outcome(call, answer, known)
    return Exit.OK if answer.safe else Exit.FAILED


def _question(call: Invocation, chosen: SelectedProfile) -> Question:
    given = {"--from": call.from_release, "--to": call.to_release, "--client": " ".join(call.clients)}
    missing = [option for option, value in given.items() if not value]
    if missing or len(call.clients) != 1:
        what = f"needs {', '.join(missing)}" if missing else "answers for one --client at a time"
        raise InputError(
            f"can-upgrade {what}", "Write `nox -s can-upgrade -- --from 4.18.9 --to 4.18.14 --client 8.3.1`."
        )
    client = next((each for each in chosen.effective.clients if str(each) == call.clients[0]), None)
    if client is None:
        clients = ", ".join(map(str, chosen.effective.clients))
        raise InputError(
            f"profile {chosen.name} has no client {call.clients[0]}", f"Use one of {clients}, or add it to matrix.yaml."
        )
    # The lock need not have kernels of other flavours: without any, an update would seem safe for them.
    for flavour in call.flavours:
        if flavour not in chosen.effective.flavours:
            raise InputError(
                f"profile {chosen.name} does not build for the flavour {flavour}, so its kernels are not known",
                f"Add {flavour} to profiles.{chosen.name}.flavours in matrix.yaml, then discover and build.",
            )
    return Question(
        start=_release("--from", call.from_release),
        end=_release("--to", call.to_release),
        client=client,
        arches=tuple(arch for arch in ARCHES if arch in (call.arches or chosen.effective.arches)),
        flavours=tuple(each for each in FLAVOURS if each in (call.flavours or chosen.effective.flavours)),
    )


def _release(option: str, text: str) -> ReleaseVersion:
    try:
        return ReleaseVersion.parse(text)
    except ValueError as error:
        raise InputError(f"{option}: {error}", "Write it as `oc get clusterversion` prints it.") from error


def _print_lines(answer: Answer) -> None:
    for arch, route in answer.routes.items():
        steps = (f" → {update.to}{' (conditional)' if update.conditional else ''}" for update in route)
        print(f"route {arch}: {answer.question.start}{''.join(steps)}")
    for each in answer.kernels:
        mark = "yes" if each.safe else "no "
        print(f"{mark} {each.kernel} ({each.stream}, {', '.join(each.releases)}): {each.reason}")
    for obstacle in answer.obstacles:
        print(f"no  {obstacle.release} on {obstacle.arch}: {obstacle.reason}")


def _say_outcome(call: Invocation, answer: Answer, known: Known) -> None:
    question = answer.question
    nodes = f"{' and '.join(question.flavours)} kernels on {' and '.join(question.arches)}"
    update = f"from {question.start} to {question.end} with client {question.client}, for {nodes}"
    for arch, route in answer.routes.items():
        for step in route:
            if step.conditional:
                call.say(
                    f"{step.source} → {step.to} on {arch} is a conditional update: it has a known risk, which the "
                    "cluster evaluates (`oc adm upgrade --include-not-recommended` prints it)"
                )
    if answer.safe:
        call.say(f"safe: {update}")
        digest, seen = (known.bundle.digest, known.bundle.seen) if known.bundle else ("", "")
        when = f"as the registry had it at {seen}" if seen else "though it is not known when the registry had it last"
        call.say(f"This is about the bundle {digest}, {when}: apply its manifests before the update.")
        return
    count = len(answer.obstacles) + sum(not kernel.safe for kernel in answer.kernels)
    why = f"{count} reason{'s' if count != 1 else ''} above" if count else "no kernel of these flavours is on the route"
    call.say(f"not safe: {update}: {why}")
