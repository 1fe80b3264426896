"""Whether a tool saw what was to be seen, and whether BCC's saw the same."""

from __future__ import annotations

from typing import Any

from tests.tools.cases import CASES, Case


def judge(name: str, told: dict[str, Any]) -> tuple[str, str]:
    """("works", ""), ("agrees", "") beside BCC's, ("works", why BCC's could not be asked), or ("fails", why)."""
    case = CASES[name]
    if told["error"]:
        return "fails", told["error"].splitlines()[0]
    keys = {key for item in told["ours"] if (key := case.key(item)) is not None}
    missing = [key for key in case.expect if key not in keys]
    if missing:
        return "fails", f"not seen: {missing[0]}"
    if told.get("theirs_error"):
        return "works", "BCC's does not start here"
    if told.get("theirs") is None:
        return "works", ""
    why = _amounts_differ(case, told) if case.amount is not None else _keys_differ(case, keys, told["theirs"])
    return ("fails", f"differs from BCC's: {why}") if why else ("agrees", "")


def _keys_differ(case: Case, keys: set[Any], theirs: str) -> str:
    found = {key for line in theirs.splitlines() if (key := case.line(line)) is not None}
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
