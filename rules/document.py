"""YAML 1.2 text to a tree of located nodes, refusing whatever a rules file has no use for.

Scalars are resolved here by YAML 1.2's core schema (`no` is a word, not false), so a version of the library cannot
change what a file means. Nothing is ever constructed from a tag, and an alias never expands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

MAX_BYTES = 1024 * 1024
_MAX_DEPTH = 12
_MAX_NODES = 200_000
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, tuple[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), ("null", None)),
    **dict.fromkeys(("true", "True", "TRUE"), ("bool", True)),
    **dict.fromkeys(("false", "False", "FALSE"), ("bool", False)),
}
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Node:
    """`kind` is map, list, str, int, float, bool or null. `value`: list of (key node, node) pairs, list of nodes, str,
    int, bool or None; a float keeps its text. `text` is a scalar as written. Line and column count from 1."""

    kind: str
    value: Any
    line: int
    column: int
    text: str = ""


class DocumentError(ValueError):
    """The text cannot be read at all; one place, one reason."""

    def __init__(self, code: str, message: str, line: int = 1, column: int = 1) -> None:
        self.code, self.message, self.line, self.column = code, message, line, column
        super().__init__(message)


def read_document(text: str) -> Node:
    """The one document in `text` (JSON included, it being a subset). Raises `DocumentError`."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise DocumentError("too-large", "The file is larger than 1 MiB: write fewer rules.")
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        text = text.replace("\t", " ")  # JSON may indent with tabs, and has none inside strings
    try:
        return _Tree(YAML(typ="safe", pure=True).parse(text)).read()
    except DocumentError:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        reason = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise DocumentError(
            "syntax", f"This is not YAML: {reason}. Correct the text at this place.", line, column
        ) from error
    except YAMLError as error:
        at = getattr(error, "position", 0)
        before = text[: at if isinstance(at, int) else 0]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        raise DocumentError(
            "syntax", "There is a character here that YAML does not allow: remove it.", line, column
        ) from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise DocumentError("syntax", f"This is not YAML: {error}. Correct the text.") from error


class _Tree:
    """Builds nodes from parser events without recursion deeper than `_MAX_DEPTH`."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._count = 0

    def read(self) -> Node:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    raise _at(
                        event, "several-documents", "A second document begins here: keep one, without `---` after it."
                    )
            elif isinstance(event, MappingStartEvent | SequenceStartEvent | ScalarEvent | AliasEvent):
                root = self._node(event, 1)
        if root is None:
            raise DocumentError(
                "syntax", "The file is empty: write at least `schema: 1`, `base_currency` and `default`."
            )
        return root

    def _node(self, event: Any, depth: int) -> Node:
        self._count += 1
        if self._count > _MAX_NODES:
            raise _at(
                event, "too-large", f"The file has more than {_MAX_NODES} values: write fewer rules or shorter lists."
            )
        if depth > _MAX_DEPTH:
            raise _at(event, "too-deep", f"This is nested more than {_MAX_DEPTH} deep: a rules file needs five.")
        if isinstance(event, AliasEvent):
            raise _at(
                event, "anchor", f"`*{event.anchor}` is an alias, which a rules file may not have: write the value out."
            )
        if event.anchor:
            raise _at(event, "anchor", f"`&{event.anchor}` is an anchor, which a rules file may not have: remove it.")
        if event.tag is not None:
            raise _at(event, "tag", f"`{event.tag}` is a tag, which a rules file may not have: remove it.")
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, ScalarEvent):
            return _scalar(event, line, column)
        if isinstance(event, SequenceStartEvent):
            items = []
            while not isinstance(following := next(self._events), SequenceEndEvent):
                items.append(self._node(following, depth + 1))
            return Node("list", items, line, column)
        pairs = []
        while not isinstance(following := next(self._events), MappingEndEvent):
            key = self._node(following, depth + 1)
            pairs.append((key, self._node(next(self._events), depth + 1)))
        return Node("map", pairs, line, column)


def _scalar(event: Any, line: int, column: int) -> Node:
    text: str = event.value
    if _SURROGATES.search(text):
        try:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")  # JSON writes an astral character as a pair
        except UnicodeDecodeError:
            raise DocumentError("syntax", "Half a surrogate pair: write the character itself.", line, column) from None
    if not event.implicit[0]:
        return Node("str", text, line, column, text)
    if text in _WORDS:
        kind, value = _WORDS[text]
        return Node(kind, value, line, column, text)
    if _INT.fullmatch(text):
        if len(text) > 40:
            return Node("float", text, line, column, text)
        return Node("int", int(text, 0) if text[:2] in ("0o", "0x") else int(text), line, column, text)
    if _FLOAT.fullmatch(text):
        return Node("float", text, line, column, text)
    return Node("str", text, line, column, text)


def _at(event: Any, code: str, message: str) -> DocumentError:
    return DocumentError(code, message, event.start_mark.line + 1, event.start_mark.column + 1)
