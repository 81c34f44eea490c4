"""The expressions of GitHub's workflows, as far as this project's use them; anything else is an error.

The rules are those of docs.github.com, "Evaluate expressions in workflows and actions": an absent property is empty,
texts are compared without regard to case, and `&&` and `||` return one of their operands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(&&|\|\||==|!=|[!(),])|([A-Za-z_][\w.-]*))")
_PLACE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
Functions = Mapping[str, Callable[..., Any]]


def evaluate(text: str, contexts: Mapping[str, Any], functions: Functions) -> Any:
    """Return the value of an expression.

    Raises:
        ValueError: it has a form, a context or a function that is not known here.
    """
    parser = _Parser(_tokens(text), contexts, {"fromJSON": json.loads, **functions})
    value = parser.either()
    if parser.tokens:
        raise ValueError(f"{text!r}: {parser.tokens[0]!r} is not expected")
    return value


def substituted(text: str, contexts: Mapping[str, Any], functions: Functions) -> str:
    """Return a text with the value of each `${{ … }}` in its place."""
    return _PLACE.sub(lambda found: as_text(evaluate(found[1], contexts, functions)), text)


def condition(text: str, contexts: Mapping[str, Any], functions: Functions) -> bool:
    """Return whether an `if` holds; without a function of status it also needs that nothing failed."""
    bare = text.strip().removeprefix("${{").removesuffix("}}")
    holds = bool(evaluate(bare, contexts, functions)) if bare.strip() else True
    named = re.search(r"\b(always|cancelled|failure|success)\(\)", bare)
    return holds and (named is not None or bool(functions["success"]()))


def as_text(value: Any) -> str:
    """Return a value as a template shows it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _tokens(text: str) -> list[str]:
    found, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"{text!r}: {text[position:]!r} is not understood")
        found.append(match[0].strip())
        position = match.end()
    return found


class _Parser:
    def __init__(self, tokens: list[str], contexts: Mapping[str, Any], functions: Functions) -> None:
        self.tokens, self._contexts, self._functions = tokens, contexts, functions

    def either(self) -> Any:
        value = self._both()
        while self._took("||"):
            other = self._both()
            value = value or other
        return value

    def _both(self) -> Any:
        value = self._compared()
        while self._took("&&"):
            other = self._compared()
            value = value and other
        return value

    def _compared(self) -> Any:
        value = self._single()
        for sign in ("==", "!="):
            if self._took(sign):
                same = as_text(value).lower() == as_text(self._single()).lower()
                return same == (sign == "==")
        return value

    def _single(self) -> Any:
        if self._took("!"):
            return not self._single()
        if self._took("("):
            value = self.either()
            self._expect(")")
            return value
        if not self.tokens:
            raise ValueError("an expression ends too early")
        token = self.tokens.pop(0)
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if self._took("("):
            arguments = []
            while not self._took(")"):
                arguments.append(self.either())
                self._took(",")
            if token not in self._functions:
                raise ValueError(f"there is no function {token}")
            return self._functions[token](*arguments)
        return self._looked_up(token)

    def _looked_up(self, token: str) -> Any:
        context, *path = token.split(".")
        if token in ("true", "false"):
            return token == "true"
        if context not in self._contexts:
            raise ValueError(f"there is no context {context}")
        value = self._contexts[context]
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def _took(self, token: str) -> bool:
        if self.tokens[:1] == [token]:
            self.tokens.pop(0)
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._took(token):
            raise ValueError(f"{token!r} is missing")
