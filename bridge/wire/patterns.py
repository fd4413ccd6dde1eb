r"""URC patterns of a table: ``+WIPDATA: {protocol:int},{index:int},{count:int}``.

A pattern matches a whole line.  Spaces after a colon or a comma are optional in what a module sends, because real
firmwares differ.  Fields: ``int`` (decimal), ``word`` (no comma, no quote), ``str`` (quoted or bare), ``rest``.
"""

from __future__ import annotations

import re

_FIELD = re.compile(r"\{(\w+):(int|word|str|rest)\}")
_EXPRESSIONS = {"int": r"(\d+)", "word": r'([^,"]+)', "str": r'("[^"]*"|[^,"]*)', "rest": r"(.*)"}
_SAMPLES = {"int": "7", "word": "w", "str": '"s"', "rest": "r"}


class PatternError(ValueError):
    """The pattern itself is wrong."""


class Pattern:
    """One compiled pattern."""

    def __init__(self, text: str) -> None:
        expression, sample, last = "", "", 0
        self.fields: list[tuple[str, str]] = []
        for found in _FIELD.finditer(text):
            expression += self._literal(text[last : found.start()]) + _EXPRESSIONS[found[2]]
            sample += text[last : found.start()] + _SAMPLES[found[2]]
            self.fields.append((found[1], found[2]))
            last = found.end()
        if "{" in text[last:] or "}" in text[last:]:
            raise PatternError(f"unknown field in {text!r}; use {{name:int|word|str|rest}}")
        expression += self._literal(text[last:])
        self.sample = (sample + text[last:]).encode("ascii")
        self._expression = re.compile(expression.encode("ascii"))

    @staticmethod
    def _literal(text: str) -> str:
        return re.sub(r"(:|,)(?:\\ )*", r"\1\\s*", re.escape(text))

    def match(self, line: bytes) -> dict[str, int | str] | None:
        """The fields of a line that matches whole, else None."""
        found = self._expression.fullmatch(line)
        if found is None:
            return None
        values: dict[str, int | str] = {}
        for (name, kind), raw in zip(self.fields, found.groups(), strict=True):
            text = raw.decode("latin-1")
            values[name] = int(text) if kind == "int" else text.strip('"') if kind == "str" else text
        return values
