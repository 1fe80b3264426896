"""What two tracers said of one script, compared: lines, and maps, as far as the script measures the work and not time."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from tests.trace_guest.side_by_side import Said

_FRAME = re.compile(r" {4}\S.*\+\d+$|\]: ?")
_ENTRY = re.compile(r"(?:^|\s)(@\w*(?:\[.*\])?): ?(.*)$")
_ROW = re.compile(r"([\[(][^|]*[\])])\s+(\d+) \|")
_STATS = re.compile(r"count (\d+), average")
_NUMBERS = re.compile(r"0x[0-9a-f]+|[0-9a-f]{16}|\d+")


class Tool(NamedTuple):
    """How a script's output is compared.

    ``lines``: pattern of its lines about the work, all equal but for ``mask`` (times). ``equal``, ``totals``, ``keys``:
    patterns of entries of maps, by key: every number is equal; the numbers of a histogram add up to the same; the keys
    are the same, with something in the same buckets. ``any``: the same, in whatever buckets.
    ``header``: how the line begins that says what it does.
    ``some``: pattern of lines of which only one has to be in both.
    ``varies``: pattern of facts that another kernel may lack: calls that its compiler made part of their callers, what a
    timer starts, sizes that the kernel chooses. ``needs``: kernel functions without any of which it has nothing to watch. ``why``: why no more is compared.
    """

    lines: str = ""
    mask: str = ""
    equal: str = ""
    totals: str = ""
    keys: str = ""
    any: str = ""
    some: str = ""
    header: str = ""
    varies: str = ""
    needs: str = ""
    why: str = ""


def joined(text: str) -> list[str]:
    """Lines, with the frames of stacks on the line that they belong to."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and _FRAME.match(line):
            while len(lines) > 1 and not lines[-1].strip():
                lines.pop()
            lines[-1] += f" {line.strip()}" if line.startswith(" ") else line
        else:
            lines.append(line)
    return lines


def said_lines(tool: Tool, text: str, pattern: str) -> Counter[str]:
    """The lines that ``pattern`` is in, masked, with spaces made one."""
    if not pattern:
        return Counter()
    wanted, mask = re.compile(pattern), re.compile(tool.mask or r"(?!)")
    return Counter(" ".join(mask.sub("~", line).split()) for line in joined(text) if wanted.search(line))


def maps(text: str) -> Counter[tuple[str, str]]:
    """(key, row of a histogram or "") → number; what is printed several times is added up."""
    found: Counter[tuple[str, str]] = Counter()
    key = ""
    for line in joined(text):
        if match := _ENTRY.search(line):
            key, value = match[1], match[2].strip()
            if value.lstrip("-").isdigit():
                found[key, ""] += int(value)
            elif stats := _STATS.match(value):
                found[key, "count"] += int(stats[1])
        elif key and (row := _ROW.match(line)):
            found[key, row[1]] += int(row[2])
    return found


def facts(tool: Tool, said: Said) -> dict[str, int]:
    """Everything that must be equal in both, by what it is."""
    result = {f"line: {line}": count for line, count in said_lines(tool, said.out, tool.lines).items()}
    entries = maps(said.out)
    for (key, row), number in entries.items():
        if tool.equal and re.search(tool.equal, key):
            result[f"{key} {row}".strip()] = number
        if tool.totals and re.search(tool.totals, key):
            result[f"{key} in all"] = result.get(f"{key} in all", 0) + number
        if tool.keys and re.search(tool.keys, key) and number:
            result[f"{key} {row}".strip()] = 1
        if tool.any and re.search(tool.any, key) and number:
            result[key] = 1
    return result


def different(tool: Tool, theirs: Said, ours: Said) -> str:
    """What is not as it should be; "" if nothing."""
    first = [said.whole.splitlines()[:1] for said in (theirs, ours)]
    if first[0] != first[1]:
        return f"first lines: {first[0]} and {first[1]}"
    headers = [next((line for line in said.whole.splitlines() if tool.header and line.startswith(tool.header)), None)
               for said in (theirs, ours)]
    if headers[0] != headers[1] or (tool.header and headers[0] is None):
        return f"headers: {headers}"
    either = [said_lines(tool, said.out, tool.some) for said in (theirs, ours)]
    if tool.some and any(either) and not either[0] & either[1]:
        return f"not one line in both: {sorted(either[0])[:3]} and {sorted(either[1])[:3]}"
    other, mine = facts(tool, theirs), facts(tool, ours)
    wrong = [f"{what}: {other.get(what, 0)} and {mine.get(what, 0)}" for what in sorted({*other, *mine})
             if other.get(what) != mine.get(what)]
    return f"{len(wrong)} of {len({*other, *mine})} differ (theirs and ours): " + "; ".join(wrong[:6]) if wrong else ""


def shapes(tool: Tool, said: Said) -> set[str]:
    """The facts without their numbers: for comparing what was said on two kernels."""
    return {" ".join(_NUMBERS.sub("#", what).split()) for what in facts(tool, said)}
