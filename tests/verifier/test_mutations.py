"""Whether the cases in `rules` would notice: each line of `mutations.txt` is taken out of the verifier, and a case must
fail."""

from __future__ import annotations

import inspect
import re
import textwrap
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import NamedTuple

import pytest

from .test_rules import read_cases, verdict


class Mutation(NamedTuple):
    rule: str
    function: str
    files: tuple[str, ...]
    old: str
    new: str


def read_mutations() -> list[Mutation]:
    out = []
    for block in re.split(r"^== ", Path(__file__).with_name("mutations.txt").read_text(), flags=re.M)[1:]:
        rule, where, rest = block.split("\n", 2)
        function, _, files = where.partition(" | ")
        old, new = rest.split("\n=>\n")
        out.append(Mutation(rule, function, tuple(files.split()), old, new.rstrip("\n")))
    return out


def find(name: str) -> FunctionType:
    module, *path = name.split(".")
    found: object = import_module(f"ebpf.verifier.{module}")
    for part in path:
        found = getattr(found, part)
    assert isinstance(found, FunctionType)
    return found


def mutated(function: FunctionType, mutation: Mutation) -> FunctionType:
    text = textwrap.dedent(inspect.getsource(function))
    assert mutation.old in text, f"{mutation.function} has no such line any more: {mutation.old}"
    scope: dict[str, object] = {}
    exec("from __future__ import annotations\n" + text.replace(mutation.old, mutation.new), function.__globals__, scope)
    made = scope[function.__name__]
    assert isinstance(made, FunctionType)
    return made


def notices(files: tuple[str, ...]) -> bool:
    for case in read_cases():
        if case.file in files:
            kept, _, words = case.expected.partition(": ")
            try:
                found = verdict(case)
            except Exception:
                return True
            if found.partition(": ")[0] != kept or words not in found:
                return True
    return False


@pytest.mark.parametrize("mutation", read_mutations(), ids=lambda m: m.rule)
def test_a_missing_rule_is_noticed(mutation: Mutation) -> None:
    function = find(mutation.function)
    code = function.__code__
    function.__code__ = mutated(function, mutation).__code__
    try:
        assert notices(mutation.files)
    finally:
        function.__code__ = code


def test_without_a_mutation_nothing_is_noticed() -> None:
    assert not notices(tuple({case.file for case in read_cases()}))
