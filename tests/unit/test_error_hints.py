"""Every error that a person meets ends with what to do next, as CONTRIBUTING.md demands.

Read from the syntax tree of the whole package: each construction of an error class must hand on a hint, and so must
each call of a function that takes one for an error it makes. What it says is for a reader, that it is there for this.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "scripts" / "kmatrix"
ROOT_CLASS = "KmatrixError"
HINT = "hint"


@dataclass(frozen=True)
class Takes:
    """A function or class that takes a hint.

    `position` is that of its argument; `optional` whether one may leave it out, as it then has words of its own;
    `completes` whether it has these for an empty one too. `owner` is the module of a function, which is called by its
    name alone or as the module's; empty for a class and for a method, which may be anybody's attribute.
    """

    position: int | None
    optional: bool
    completes: bool
    owner: str = ""

    def is_called(self, function: ast.expr) -> bool:
        return not (isinstance(function, ast.Attribute) and self.owner) or name_of(function.value) == self.owner

    def given(self, call: ast.Call) -> ast.expr | None:
        words = [word.value for word in call.keywords if word.arg in (HINT, None)]
        if self.position is not None and len(call.args) > self.position:
            words.append(call.args[self.position])
        return words[0] if words else None

    def is_served(self, call: ast.Call) -> bool:
        given = self.given(call)
        return self.completes or (self.optional if given is None else is_text(given))


Known = dict[str, list[Takes]]


def name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def is_text(node: ast.expr | None) -> bool:
    """Whether an expression surely is more than blanks, or is a hint that is looked at where it comes from."""
    match node:
        case ast.Constant():
            return isinstance(node.value, str) and bool(node.value.strip())
        case ast.JoinedStr():
            return any(not isinstance(part, ast.Constant) or str(part.value).strip() for part in node.values)
        case ast.IfExp():
            return is_text(node.body) and is_text(node.orelse)
        case ast.BoolOp(op=ast.Or()):
            return is_text(node.values[-1])
        case ast.BinOp(op=ast.Add()):
            return is_text(node.left) or is_text(node.right)
        case ast.Name() | ast.Attribute() | ast.Subscript() | ast.Call():
            return True
    return False


def begins_small(node: ast.expr | None) -> bool:
    """Whether a hint is a sentence that begins with a small letter; a command in backquotes is none."""
    match node:
        case ast.Constant():
            return isinstance(node.value, str) and node.value[:1].islower()
        case ast.JoinedStr():
            return begins_small(node.values[0])
        case ast.IfExp():
            return begins_small(node.body) or begins_small(node.orelse)
        case ast.BinOp(op=ast.Add()):
            return begins_small(node.left)
        case ast.BoolOp():
            return any(begins_small(value) for value in node.values)
    return False


def called(known: Known, call: ast.Call, module: str) -> list[Takes]:
    """What a call may be of: a function of the same module before those of others with its name."""
    fitting = [takes for takes in known.get(name_of(call.func), []) if takes.is_called(call.func)]
    return [takes for takes in fitting if takes.owner == module] or fitting


def completes(function: ast.FunctionDef, known: Known, module: str) -> bool:
    """Whether a function puts words in the place of an empty hint, itself or by what it hands it to."""
    replaced: list[ast.expr] = []
    for node in ast.walk(function):
        if isinstance(node, ast.BoolOp) and is_text(node):
            replaced.append(node.values[0])
        elif isinstance(node, ast.Call):
            there = called(known, node, module)
            replaced += [given for takes in there if takes.completes and (given := takes.given(node))]
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == HINT]
    return bool(uses) and all(use in replaced for use in uses)


def takes_of(function: ast.FunctionDef, known: Known, module: str, bound: bool, method: bool) -> Takes | None:
    """How a function takes a hint; None where it does not."""
    arguments = function.args
    listed = [*arguments.posonlyargs, *arguments.args][1 if bound else 0 :]
    names = [a.arg for a in listed]
    defaults = dict(zip(names[::-1], arguments.defaults[::-1], strict=False))
    keywords = {a.arg: default for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)}
    if HINT not in names and HINT not in keywords:
        return None
    position = names.index(HINT) if HINT in names else None
    default = defaults.get(HINT) or keywords.get(HINT)
    return Takes(position, is_text(default), completes(function, known, module), "" if method else module)


def makes_its_own(constructor: ast.FunctionDef) -> bool:
    """Whether a class's constructor hands on a hint even where it was given none."""
    for call in (node for node in ast.walk(constructor) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "__init__":
            given = [*call.args[1:2], *(word.value for word in call.keywords if word.arg == HINT)]
            return any(not isinstance(node, ast.Name) and is_text(node) for node in given)
    return False


def error_classes(trees: dict[Path, ast.Module]) -> dict[str, Takes]:
    """Our error classes by name, those that derive from them in other modules too."""
    classes = {node.name: node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    found: dict[str, Takes] = {}

    def look(name: str) -> Takes | None:
        node = classes.get(name)
        if node is None or name in found:
            return found.get(name)
        parent = next((known for base in node.bases if (known := look(name_of(base)))), None)
        if parent is None and name != ROOT_CLASS:
            return None
        own = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if own is None:
            assert parent is not None
            found[name] = parent
        else:
            given = takes_of(own, {}, "", bound=True, method=True)
            has_words = name != ROOT_CLASS and makes_its_own(own)
            found[name] = Takes(given.position if given else None, bool(given and given.optional), has_words)
        return found[name]

    for name in classes:
        look(name)
    return found


def helpers(trees: dict[Path, ast.Module], known: Known) -> Known:
    """Functions and methods that take a hint, by name; a dataclass's field counts as its argument."""
    found: Known = {}
    for path, tree in trees.items():
        methods = {id(n) for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for n in c.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name != "__init__":
                method = id(node) in methods
                bound = method and not any(name_of(decorator) == "staticmethod" for decorator in node.decorator_list)
                if taken := takes_of(node, known, path.stem, bound, method):
                    found.setdefault(node.name, []).append(taken)
            elif isinstance(node, ast.ClassDef):
                fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
                names = [name_of(field.target) for field in fields]
                if HINT in names:
                    position = names.index(HINT)
                    found.setdefault(node.name, []).append(Takes(position, is_text(fields[position].value), False))
    return found


def without_a_next_step(trees: dict[Path, ast.Module]) -> Iterator[str]:
    errors = error_classes(trees)
    known: Known = {}
    while True:
        # One function may complete the hint of another that it calls.
        more = {**helpers(trees, known), **{name: [takes] for name, takes in errors.items()}}
        if more == known:
            break
        known = more
    for path, tree in trees.items():
        for node in ast.walk(tree):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call):
                there = called(known, node, path.stem)
                if there and not any(takes.is_served(node) for takes in there):
                    yield f"{where}: {name_of(node.func)} without a next step"
                if any(begins_small(takes.given(node)) for takes in there):
                    yield f"{where}: {name_of(node.func)} with a next step that begins with a small letter"
            elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name) and node.exc.id in errors:
                yield f"{where}: {node.exc.id} without a message"
            elif isinstance(node, ast.Assign) and name_of(node.targets[0]) == HINT and not is_text(node.value):
                yield f"{where}: an empty hint"
            elif isinstance(node, ast.Assign) and name_of(node.targets[0]) == HINT and begins_small(node.value):
                yield f"{where}: a hint that begins with a small letter"


def parsed(**sources: str) -> dict[Path, ast.Module]:
    return {Path(f"{name}.py"): ast.parse(text) for name, text in sources.items()}


def test_every_error_says_what_to_do_next() -> None:
    trees = {
        path.relative_to(PACKAGE.parents[1]): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    assert len(error_classes(trees)) > 6, "the walk no longer finds the error classes"
    found = sorted(without_a_next_step(trees))
    assert not found, f"{len(found)} errors end without a next step:\n" + "\n".join(found)


ERRORS = """
class KmatrixError(Exception):
    def __init__(self, message: str, hint: str) -> None: ...
class InputError(KmatrixError):
    def __init__(self, message: str, hint: str, problems: tuple = ()) -> None:
        super().__init__(message, hint)
class UnreachableError(KmatrixError):
    def __init__(self, service: str, cause: str, hint: str = "") -> None:
        super().__init__(f"{service}: {cause}", hint or f"Look at {service}.")
class ToolError(KmatrixError): ...
"""
REFUSALS = "def refusal(m, hint=None):\n    return ToolError(m, hint)\n"


@pytest.mark.parametrize(
    "line",
    [
        'raise ToolError("m")',
        'raise ToolError("m", "")',
        'raise ToolError("m", hint=" ")',
        'raise ToolError("m", "Do it." if x else "")',
        'raise errors.ToolError("m")',
        "raise ToolError",
        'found = ToolError("m")',
        'raise Other("m")',
        'def refusal(m, hint=""):\n    return ToolError(m, hint)\nraise refusal("m")',
        'def refusal(m, *, hint):\n    return ToolError(m, hint)\nraise refusal("m", hint="")',
        'class A:\n    def refusal(self, m, hint):\n        raise ToolError(m, hint)\nA().refusal("m", "")',
        'hint = ""\nraise ToolError("m", hint)',
        'def a(m, hint=""):\n    return b(m, hint)\ndef b(m, hint=""):\n    return ToolError(m, hint)\na("m")',
        'def refusal(m, hint=""):\n    return ToolError(m, hint or "")\nraise refusal("m")',
        'def refusal(m, hint=""):\n    return E(m, hint or "Do it.") if m else E(m, hint)\nraise refusal("m")',
        'from refusals import refusal\nraise refusal("m")',
        'import refusals\nraise refusals.refusal("m")',
        'class Rule:\n    name: str\n    hint: str = ""\nRule("a")',
        'raise ToolError("m", "do it.")',
        'raise ToolError("m", f"do {x}." if x else "Do it.")',
        'hint = "do it."\nraise ToolError("m", hint)',
    ],
)
def test_an_error_without_a_next_step_is_found(line: str) -> None:
    trees = parsed(errors=ERRORS, other="class Other(ToolError): ...\n", refusals=REFUSALS, here=line)
    assert {problem.partition(":")[0] for problem in without_a_next_step(trees)} == {"here.py"}


@pytest.mark.parametrize(
    "line",
    [
        'raise ToolError("m", "Do it.")',
        'raise InputError("m", "Do it.", ())',
        'raise UnreachableError("s", "c")',
        'raise ToolError("m", hint=f"Run {x}.")',
        'raise ToolError("m", "Do it." if x else "Do that.")',
        "raise ToolError(error.message, error.hint)",
        'raise ToolError("m", x or "Do it.")',
        'raise ValueError("m")',
        "raise error from None",
        'def refusal(m, hint):\n    return ToolError(m, hint)\nraise refusal("m", "Do it.")',
        'def refusal(m, hint="Do it."):\n    return ToolError(m, hint)\nraise refusal("m")',
        'def refusal(m, hint=""):\n    return ToolError(m, hint or "Do it.")\nraise refusal("m")',
        'def a(m, hint=""):\n    return b(m, hint)\ndef b(m, hint=""):\n    return E(m, hint or "Do it.")\na("m")',
        'def refusal(m):\n    return ToolError(m, "Do it.")\nraise refusal("m")',
        'raise UnreachableError("s", "c", "")',
        'def read_text(path, hint):\n    ...\npath.read_text("utf-8")',
    ],
)
def test_an_error_with_a_next_step_is_left_alone(line: str) -> None:
    assert list(without_a_next_step(parsed(errors=ERRORS, here=line))) == []
