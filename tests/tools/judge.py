"""Whether a tool saw what was to be seen, and whether BCC's saw the same."""

from __future__ import annotations

import json
from typing import Any

from tests.tools.cases import CASES, Case


def judge(name: str, told: dict[str, Any], beside: dict[str, Any] | None) -> tuple[str, str]:
    """("works", ""), ("agrees", "") where BCC's was ``beside``, ("works", why BCC's could not be asked), or ("fails", why)."""
    case = CASES[name]
    if why := _says_too_little(case, told):
        return "fails", why
    if why := _group_differs(case, told.get("grouped")):
        return "fails", why
    if why := _command_fails(case, told.get("command")):
        return "fails", f"as a command: {why}"
    if beside is None or beside.get("theirs") is None:
        return "works", ""
    if beside["theirs_error"] and not beside["theirs"]:
        # One that was ended before it was ready says nothing of whether it could be.
        return "works", "" if beside["theirs_error"].startswith("it ended") else "BCC's does not start here"
    why = _says_too_little(case, beside) or (
        _amounts_differ(case, beside) if case.amount is not None else _keys_differ(case, beside))
    return ("fails", f"differs from BCC's: {why}") if why else ("agrees", "")


def _keys(case: Case, items: list[dict[str, Any]]) -> set[Any]:
    return {key for item in items if (key := case.key(item)) is not None}


def _says_too_little(case: Case, told: dict[str, Any]) -> str:
    if told["error"]:
        return str(told["error"]).splitlines()[0]
    keys = _keys(case, told["ours"])
    missing = [key for key in case.expect if key not in keys]
    return f"not seen: {missing[0]}" if missing else ""


def _group_differs(case: Case, told: dict[str, Any] | None) -> str:
    """Whether a container's filter let through what was outside, or kept back what was inside."""
    if told is None:
        return ""
    if told["error"]:
        return f"of a container: {told['error'].splitlines()[0]}"
    outside, inside = (_keys(case, told[where]) for where in ("outside", "inside"))
    if outside:
        return f"sees what is outside of the container: {sorted(map(str, outside))[0]}"
    missing = [key for key in case.expect if key not in inside]
    return f"does not see what is inside of the container: {missing[0]}" if missing else ""


def _command_fails(case: Case, told: dict[str, Any] | None) -> str:
    """Whether it ended badly, or said something that is no JSON, or not what had to be said."""
    if told is None:
        return ""
    said = [line for line in told["err"].splitlines() if not line.startswith("lost: ")]  # that may be so, and is told
    if told["status"] or said:
        return f"status {told['status']}, {said[-1:]}"
    keys = set()
    for line in told["out"].splitlines():
        try:
            keys.add(case.key(json.loads(line)))
        except ValueError:
            return f"no JSON: {line[:60]!r}"
    missing = [key for key in case.expect if key not in keys]
    return f"not seen: {missing[0]}" if missing and "lost: " not in told["err"] else ""


def _keys_differ(case: Case, told: dict[str, Any]) -> str:
    keys = _keys(case, told["ours"])
    found = {key for line in told["theirs"].splitlines() if (key := case.line(line)) is not None}
    return str(sorted(map(str, keys ^ found))[:3]) if keys != found else ""


def _amounts_differ(case: Case, told: dict[str, Any]) -> str:
    """What ours counted, each within the case's tolerance of what theirs did."""
    ours: dict[str, float] = {}
    assert case.amount is not None
    for item in told["ours"]:
        if (pair := case.amount(item)) is not None:
            ours[pair[0]] = ours.get(pair[0], 0) + pair[1]
    theirs = case.amounts(told["theirs"])
    off = [f"{label} {mine:g} and {theirs.get(label, 0):g}" for label, mine in ours.items()
           if abs(mine - theirs.get(label, 0)) > case.within * max(mine, theirs.get(label, 0)) + case.beyond]
    return "; ".join(off[:3]) if ours else "ours counted nothing"
