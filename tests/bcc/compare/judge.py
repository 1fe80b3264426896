"""Whether two outputs say the same."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, NamedTuple

from tests.bcc.compare.plan import Case

_TIMES = re.compile(r"\b\d{1,2}:\d\d:\d\d(\.\d+)?\b|\b\d+\.\d+\b|0x[0-9a-f]{6,}\b|\b[0-9a-f]{16}\b")
_CLOCK = re.compile(r"\b\d{1,2}:\d\d:\d\d\b")
_NUMBERS = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{16}\b|-?\b\d+(\.\d+)?(?:[um]?s\b)?")
_OWN = re.compile(r'File "[^"]*/(ebpf|bcc)/\w[^"]*\.py"')  # a line of a traceback that is in this package
_LONG = re.compile(r"#\d+|\b[0-9a-f]{8,}\b|\b\d{3,}\b")
_ROW = re.compile(r"^\s*(?:(\d+) -> (\d+)|(\d+))\s+: (\d+)\s+\|([*+ ]*)\|$")


class Verdict(NamedTuple):
    """``result``: equal, different, explained (different, and it has to be), started, ended (with its own reason), failed."""

    result: str
    reason: str = ""


def judge(case: Case, told: dict[str, Any]) -> Verdict:
    """Of one case's results."""
    ours = told["ours"]
    if _OWN.search(ours["err"].partition("Traceback")[2]):
        return Verdict("failed", _last(ours["err"]))
    if ours["status"] == "killed":
        return Verdict("failed", "did not end on Ctrl-C")
    theirs = told.get("theirs")
    if theirs is None or case.how == "starts":
        return _alone(case, told)
    if theirs["ready_s"] < 0 and not case.ends and not theirs["out"].strip():
        verdict = _alone(case, told)
        return Verdict(verdict.result, f"{_their_failure(theirs)}; ours: {verdict.reason}")
    if ours["ready_s"] < 0 and not case.ends:
        return Verdict("failed", _last(ours["err"]) or "ended by itself")
    if case.how == "lines" and _heads(theirs["out"]) != _heads(ours["out"]):
        return Verdict("different", f"first lines {_heads(theirs['out'])!r} and {_heads(ours['out'])!r}")
    verdict = _COMPARE[case.how](case, *(one["out"][one.get("before", 0):] for one in (theirs, ours)))
    return Verdict("explained", case.because) if case.because and verdict.result == "different" else verdict


def words_of(case: Case, one: dict[str, Any]) -> list[str]:
    """Its first line and what it says about the work, but for times and process ids: the same in every run."""
    lines = [line for line in one["out"][one.get("before", 0):].splitlines() if re.search(case.marks, line)]
    return sorted(_LONG.sub("#", _strict(line)) for line in [next(iter(one["out"].splitlines()), ""), *lines])


def as_recorded(case: Case, told: dict[str, Any], words: list[str]) -> Verdict:
    """Ours, beside the words of a run of BCC that was kept."""
    verdict = judge(case, {"ours": told["ours"]})
    if verdict.result != "started":
        return verdict
    return _difference(Counter(words), Counter(words_of(case, told["ours"])))


def _alone(case: Case, told: dict[str, Any]) -> Verdict:
    ours = told["ours"]
    if ours["status"] not in (0, 1, -2, 130):
        return Verdict("failed", f"status {ours['status']}: {_last(ours['err'])}")
    refused = ours["status"] == 1 and re.match("error|ebpf: ", _last(ours["err"]))
    if refused or ours["ready_s"] < 0 and (not case.ends or ours["status"]):
        return Verdict("ended", _last(ours["err"]) or _last(ours["out"]))
    if case.how in ("lines", "loose", "keys", "counts", "near") and not _marked(case, ours["out"], _loose):
        return Verdict("started", "says nothing about the work")
    return Verdict("started", "its output was read")


def _their_failure(theirs: dict[str, Any]) -> str:
    said = _last(theirs["err"]).removeprefix("Exception: ")
    if said.startswith("Failed to compile"):
        return "BCC cannot compile it with this kernel's headers"
    return f"BCC fails: {said.partition(', it')[0]}"


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("error", "ebpf: "))]  # else the last, of a traceback say
    return next(iter(told or [line for line in lines if not line.startswith("= ")][-1:]), "")


def _strict(line: str) -> str:
    return " ".join(_TIMES.sub("#", line).split())


def _loose(line: str) -> str:
    return " ".join(_NUMBERS.sub("#", line).split())


def _marked(case: Case, text: str, form: Any) -> Counter[str]:
    wanted = re.compile(case.marks)
    return Counter(form(line) for line in text.splitlines() if wanted.search(line))


def _difference(theirs: Counter[str], ours: Counter[str]) -> Verdict:
    if not theirs and not ours:
        return Verdict("different", "neither says anything about the work")
    missing, more = theirs - ours, ours - theirs
    if not missing and not more:
        return Verdict("equal", f"{sum(ours.values())} lines")
    parts = [f"{what} {list(which)[:3]}" for what, which in (("BCC alone:", missing), ("ours alone:", more)) if which]
    return Verdict("different", "; ".join(parts))


def _lines(case: Case, theirs: str, ours: str) -> Verdict:
    form = _loose if case.apart else _strict
    return _difference(_marked(case, theirs, form), _marked(case, ours, form))


def _heads(text: str) -> str:
    return _loose(next(iter(text.splitlines()), ""))


def _loose_lines(case: Case, theirs: str, ours: str) -> Verdict:
    return _difference(_marked(case, theirs, _loose), _marked(case, ours, _loose))


def _keys(case: Case, theirs: str, ours: str) -> Verdict:
    a, b = (Counter(set(_marked(case, text, _loose))) for text in (theirs, ours))
    return _difference(a, b)


def _counts(case: Case, theirs: str, ours: str) -> Verdict:
    found = []
    for text in (theirs, ours):
        sums: Counter[str] = Counter()
        for line, times in _marked(case, text, _strict).items():
            if (count := re.search(r"(?<!\S)\d+(?!\S)", line)) is not None:
                sums[" ".join((line[:count.start()] + line[count.end():]).split())] += times * int(count[0])
        found.append(Counter({f"{n} {key}": 1 for key, n in sums.items()}))
    return _difference(*found)


def _near(case: Case, theirs: str, ours: str) -> Verdict:
    found = []
    for text in (theirs, ours):
        rows: dict[str, list[int]] = {}
        for line in text.splitlines():
            if re.search(case.marks, line):
                numbers = [int(n) for n in re.findall(r"(?<![\w.])\d+(?![\w.])", _CLOCK.sub("", line))]
                before = rows.setdefault(_loose(line), [0] * len(numbers))
                rows[_loose(line)] = [a + b for a, b in zip(before, numbers, strict=False)]
        found.append(rows)
    a, b = found
    if set(a) != set(b) or not a:
        return _difference(Counter(a.keys()), Counter(b.keys()))
    worst = min(((min(x, y) + 3) / (max(x, y) + 3), key, x, y) for key in a for x, y in zip(a[key], b[key], strict=True))
    if worst[0] < 0.6:
        return Verdict("different", f"BCC says {worst[2]} and ours {worst[3]}: {worst[1]}")
    return Verdict("equal", f"{len(a)} lines, numbers within {100 * (1 - worst[0]):.0f} %")


def _text(case: Case, theirs: str, ours: str) -> Verdict:
    a, b = (Counter(_strict(line) for line in text.splitlines() if line.strip()) for text in (theirs, ours))
    return _difference(a, b)


def _histograms(text: str) -> dict[str, dict[str, int]]:
    """Buckets' counts, by section; sections of the same name added up."""
    found: dict[str, dict[str, int]] = {}
    section = ""
    for line in text.splitlines():
        row = _ROW.match(line)
        if row is None:
            if line.strip() and "distribution" not in line:
                section = re.sub(r"\[\d+\]", "[#]", _strict(line))
            elif line.strip():
                found.setdefault(f"{section} | {_strict(line)}", {})
                unit = _strict(line)
        else:
            bucket = row[3] if row[3] is not None else f"{row[1]} -> {row[2]}"
            counts = found.setdefault(f"{section} | {unit}", {})
            counts[bucket] = counts.get(bucket, 0) + int(row[4])
    return found


def _hist(case: Case, theirs: str, ours: str) -> Verdict:
    wanted = re.compile(case.marks if case.marks != "wl-" else "")
    a, b = ({k: v for k, v in _histograms(text).items() if wanted.search(k)} for text in (theirs, ours))
    if not a and not b:
        return Verdict("different", "neither has a histogram")
    if set(a) != set(b):
        return Verdict("different", f"BCC alone: {sorted(set(a) - set(b))[:3]}; ours alone: {sorted(set(b) - set(a))[:3]}")
    worst = 1.0
    for section in a:
        one, other = sum(a[section].values()), sum(b[section].values())
        worst = min(worst, (min(one, other) + 3) / (max(one, other) + 3))
    if worst < 0.6:
        return Verdict("different", f"counts differ: {min(1.0, worst):.2f} of the other's")
    return Verdict("equal", f"{len(a)} histograms, counts within {100 * (1 - worst):.0f} %")


_COMPARE = {"lines": _lines, "loose": _loose_lines, "keys": _keys, "counts": _counts, "near": _near, "hist": _hist, "text": _text}
