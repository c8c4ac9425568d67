"""What a PromQL expression refers to. Reads tokens, not the grammar: promtool knows the grammar."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.metric_names import exported

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy" / "prometheus" / "rules"

NAME: Final = re.compile(r"(?<![\w:.\"])(gengui_\w+|gengui:[\w:]+|process_\w+|python_\w+|up|ALERTS)(?![\w:(\"])")
MATCHERS: Final = re.compile(r"(?<=[\w:])\{([^}]*)\}")
MATCHER: Final = re.compile(r"(\w+)\s*(=~|!~|!=|=)\s*\"([^\"]*)\"")
GROUPING: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
MADE: Final = re.compile(r"label_replace\([^\"]*(?:\{[^}]*\}[^\"]*)?\"(\w+)\"")


@dataclass(frozen=True, slots=True)
class References:
    """`values`: those that a label is compared with, by label; of a regular expression the alternatives."""

    names: frozenset[str]
    labels: frozenset[str]
    values: Mapping[str, frozenset[str]]


def references(expression: str) -> References:
    values: dict[str, frozenset[str]] = {}
    bare = MATCHERS.sub("", expression)
    for matchers in MATCHERS.findall(expression):
        for label, _, text in MATCHER.findall(matchers):
            values[label] = values.get(label, frozenset()) | frozenset(text.split("|"))
    grouped = {label.strip() for group in GROUPING.findall(bare) for label in group.split(",") if label.strip()}
    return References(frozenset(NAME.findall(bare)), frozenset(values) | grouped, values)


def faults(expression: str) -> Iterator[str]:
    """Names that nothing exports and labels that none of the named metrics has."""
    found, known = references(expression), {**exported(), **recorded()}
    if not found.names:
        yield "no metric"
    for name in sorted(found.names - known.keys()):
        yield f"no metric {name}"
    labels = {label for name in found.names for label in known.get(name, ())} | set(MADE.findall(expression))
    for label in sorted(found.labels - labels):
        yield f"no label {label}"


@cache
def recorded() -> Mapping[str, frozenset[str]]:
    """The names that rules record: they have no labels."""
    return {rule["record"]: frozenset() for rule in rules() if "record" in rule}


@cache
def rules() -> tuple[Any, ...]:
    """Every rule of every file."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(RULES.glob("*.yml"))]
    return tuple(rule for document in documents for group in document["groups"] for rule in group["rules"])
