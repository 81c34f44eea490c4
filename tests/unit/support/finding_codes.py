"""Finds every finding code in the package's syntax trees, so that the documentation can be held against all of them.

A code is given to a `Finding`, a `BootReport` or a `MalformedElfError`. Each place must show its codes: as a string, as
a choice between strings, from a constant tuple or dictionary, from a function or for a parameter whose type is a named
`Literal`, or from a parameter, in which case every caller must show them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Class: position of the code among its arguments.
CARRIERS = {"Finding": 1, "BootReport": 1, "MalformedElfError": 0}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Used:
    """A code, the module that gives it, and the verdict of a boot report that has it (else empty)."""

    code: str
    module: str
    verdict: str = ""


@dataclass(frozen=True)
class Codes:
    """The codes that were found, and the places whose codes cannot be told, as `module:line: reason`."""

    used: frozenset[Used]
    unresolved: tuple[str, ...]


@dataclass
class _Package:
    """Syntax trees by module name, with the parent of every node."""

    trees: Mapping[str, ast.Module]
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)
    module_of: dict[ast.AST, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for module, tree in self.trees.items():
            for node in ast.walk(tree):
                self.module_of[node] = module
                for child in ast.iter_child_nodes(node):
                    self.parents[child] = node

    def calls(self, name: str) -> Iterator[ast.Call]:
        for tree in self.trees.values():
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and _name(node.func) == name:
                    yield node

    def functions(self, name: str) -> list[Function]:
        found = (node for tree in self.trees.values() for node in ast.walk(tree))
        return [node for node in found if isinstance(node, Function) and node.name == name]

    def scopes(self, node: ast.AST) -> Iterator[Function | ast.Module]:
        """Yield the functions that a node lies in, innermost first, and then its module."""
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, Function | ast.Module):
                yield node

    def literal(self, annotation: ast.expr | None) -> list[str] | None:
        """Return the strings of a `Literal` alias; None for any other type."""
        name = _name(annotation) if annotation else ""
        for tree in self.trees.values():
            for target, value in _assigned(tree):
                if name and target == name and isinstance(value, ast.Subscript) and _name(value.value) == "Literal":
                    return _strings([value.slice])
        return None


class _UnresolvedError(Exception):
    """The codes of an expression cannot be told."""


def finding_codes(sources: Mapping[str, str]) -> Codes:
    """Return every code that modules give to findings.

    Args:
        sources: text of each module, by its name.
    """
    package = _Package({module: ast.parse(text) for module, text in sources.items()})
    used: set[Used] = set()
    unresolved: list[str] = []
    for carrier, position in CARRIERS.items():
        for call in package.calls(carrier):
            _collect(package, call, carrier, position, used, unresolved)
    for call in package.calls("replace"):
        if any(word.arg == "code" for word in call.keywords):
            _collect(package, call, "replace", None, used, unresolved)
    return Codes(frozenset(used), tuple(sorted(unresolved)))


def package_sources(package: Path) -> dict[str, str]:
    """Return the text of every module of a package, by its path from the package's parent."""
    return {
        str(path.relative_to(package.parent)): path.read_text(encoding="utf-8")
        for path in sorted(package.rglob("*.py"))
    }


def _collect(
    package: _Package, call: ast.Call, carrier: str, position: int | None, used: set[Used], unresolved: list[str]
) -> None:
    module = package.module_of[call]
    verdict = _constant(call.args[0]) if carrier == "BootReport" and call.args else ""
    # A finding of an earlier run, read from a file: its code was given where it was made.
    if not call.args and [word.arg for word in call.keywords] == [None]:
        return
    try:
        given = _argument(call, "code", position)
        used.update(Used(code, module, verdict) for code in _resolve(package, given))
    except _UnresolvedError as error:
        unresolved.append(f"{module}:{call.lineno}: {carrier}: {error}")


def _argument(call: ast.Call, name: str, position: int | None) -> ast.expr:
    for word in call.keywords:
        if word.arg == name:
            return word.value
    if position is None or len(call.args) <= position or any(isinstance(each, ast.Starred) for each in call.args):
        raise _UnresolvedError("the code is not given as an argument of its own")
    return call.args[position]


def _resolve(package: _Package, node: ast.expr, seen: frozenset[ast.AST] = frozenset()) -> set[str]:
    if node in seen:
        return set()
    seen = seen | {node}
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp():
            return _resolve(package, node.body, seen) | _resolve(package, node.orelse, seen)
        case ast.Attribute(attr="code"):
            # Passed on from another carrier, where it was collected.
            return set()
        case ast.Call():
            return _returned(package, node)
        case ast.Name():
            return _named(package, node, seen)
    raise _UnresolvedError(f"cannot tell the codes of {ast.unparse(node)}")


def _returned(package: _Package, call: ast.Call) -> set[str]:
    functions = package.functions(_name(call.func))
    listed = [package.literal(function.returns) for function in functions]
    if not functions or None in listed:
        raise _UnresolvedError(f"{ast.unparse(call.func)} does not return a named Literal")
    return {code for each in listed for code in each or ()}


def _named(package: _Package, node: ast.Name, seen: frozenset[ast.AST]) -> set[str]:
    for scope in package.scopes(node):
        if isinstance(scope, Function):
            arguments = [*scope.args.posonlyargs, *scope.args.args]
            for index, argument in enumerate([*arguments, *scope.args.kwonlyargs]):
                if argument.arg == node.id:
                    return _given(package, scope, argument, index if argument in arguments else None, seen)
        found = _bound(package, scope, node.id, seen)
        if found is not None:
            return found
    raise _UnresolvedError(f"cannot tell the codes of {node.id}")


def _given(
    package: _Package, function: Function, argument: ast.arg, position: int | None, seen: frozenset[ast.AST]
) -> set[str]:
    """Return the codes that a parameter is given: its type's, or else those of every call."""
    listed = package.literal(argument.annotation)
    if listed is not None:
        return set(listed)
    calls = list(package.calls(function.name))
    if function.name.startswith("_"):
        # Other modules may have a private function of that name too.
        calls = [call for call in calls if package.module_of[call] == package.module_of[function]]
    if not calls:
        raise _UnresolvedError(f"{function.name} is given the code, and no call of it was found")
    return {code for call in calls for code in _resolve(package, _argument(call, argument.arg, position), seen)}


def _bound(package: _Package, scope: Function | ast.Module, name: str, seen: frozenset[ast.AST]) -> set[str] | None:
    """Return the codes of a name that a scope binds, by assignment or by a loop; None if it binds none of that name."""
    values = [value for target, value in _assigned(scope) if target == name]
    loops = [
        (path, node.iter)
        for node in _own(scope)
        if isinstance(node, ast.For | ast.comprehension)
        for path in [_path(node.target, name)]
        if path is not None
    ]
    if not values and not loops:
        return None
    codes = {code for value in values for code in _resolve(package, value, seen)}
    for path, iterated in loops:
        for item in _items(package, iterated):
            codes |= _resolve(package, _element(item, path), seen)
    return codes


def _element(item: ast.expr, path: list[int]) -> ast.expr:
    """Return the element of nested tuples that indices lead to."""
    if not path:
        return item
    if not isinstance(item, ast.Tuple):
        raise _UnresolvedError(f"{ast.unparse(item)} is not a tuple")
    return _element(item.elts[path[0]], path[1:])


def _items(package: _Package, node: ast.expr) -> list[ast.expr]:
    """Return the items of a constant tuple, or of a constant dictionary's `items()` as tuples."""
    if isinstance(node, ast.Tuple):
        return node.elts
    pairs = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "items"
    named = node.func.value if pairs and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else node
    if isinstance(named, ast.Name):
        for scope in package.scopes(node):
            for value in [value for target, value in _assigned(scope) if target == named.id]:
                if pairs and isinstance(value, ast.Dict):
                    items = zip(value.keys, value.values, strict=True)
                    return [ast.Tuple([key, each], ast.Load()) for key, each in items if key]
                if isinstance(value, ast.Tuple):
                    return value.elts
    raise _UnresolvedError(f"{ast.unparse(node)} is not a constant tuple")


def _assigned(scope: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in _own(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    names = (_name(element) for element in target.elts)
                    yield from zip(names, node.value.elts, strict=True)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a scope without those of the functions in it."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, Function):
            yield from _own(child)


def _path(target: ast.expr, name: str) -> list[int] | None:
    """Return the indices that lead to a name in the target of a loop."""
    if isinstance(target, ast.Name):
        return [] if target.id == name else None
    if isinstance(target, ast.Tuple):
        for index, element in enumerate(target.elts):
            path = _path(element, name)
            if path is not None:
                return [index, *path]
    return None


def _strings(nodes: list[ast.expr]) -> list[str]:
    found = (each for node in nodes for each in (node.elts if isinstance(node, ast.Tuple) else [node]))
    return [each.value for each in found if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def _constant(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
