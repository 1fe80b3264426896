"""The table of docs/bcc.md, out of the results on disk."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from tests.bcc.compare.plan import CASES

_DOC = Path(__file__).resolve().parents[3] / "docs" / "bcc.md"
_BEGIN, _END = "<!-- comparison -->\n", "<!-- end of comparison -->\n"
_KERNELS = ("5.10", "6.12", "6.18", "7.2")
_ORDER = ("failed", "different", "explained", "ended", "started", "equal")


def write() -> None:
    """Put it into the page."""
    text = _DOC.read_text()
    head, _, rest = text.partition(_BEGIN)
    _DOC.write_text(head + _BEGIN + "\n" + render() + "\n" + _END + rest.partition(_END)[2])


def render() -> str:
    """As Markdown."""
    from tests.bcc.compare.__main__ import home, results
    from tests.guests import store

    by_kernel = {kernel: results(kernel) for kernel in (store.SAMPLE, *_KERNELS)}
    facts = {k: json.loads(p.read_text())["release"] for k in by_kernel if (p := home() / k / "facts.json").exists()}
    scripts: dict[str, list[str]] = {}
    for name, case in CASES.items():
        scripts.setdefault(Path(case.path).name.removesuffix("-bpfcc"), []).append(name)
    rows, reasons, equal, compared = [], dict[tuple[str, str], list[str]](), 0, 0
    for script, names in sorted(scripts.items()):
        found = [by_kernel[store.SAMPLE][n][1] for n in names if n in by_kernel[store.SAMPLE]]
        result = min((v.result for v in found), key=_ORDER.index, default="not run")
        equal += result == "equal"
        compared += any(CASES[n].compare for n in names) and bool(found)
        reason = "; ".join(dict.fromkeys(v.reason for v in found if v.reason and v.result == result))
        cells = []
        for kernel in _KERNELS:
            other = min((by_kernel[kernel][n][1] for n in names if n in by_kernel[kernel]),
                        key=lambda v: _ORDER.index(v.result), default=None)
            cells.append(other.result if other is not None else "–")
            if other is not None and other.result in ("failed", "ended"):
                reasons.setdefault((script, _cell(other.reason)), []).append(kernel)
        rows.append(f"| {script} | {result} | {_cell(reason)} | {' | '.join(cells)} |")
    known = ", ".join(f"{release}" for release in facts.values())
    compared_text = f"{compared} were run beside BCC's own; {equal} of them say the same."
    return "\n".join([
        f"{datetime.date.today():%d %B %Y}; kernels {known}. {len(scripts)} scripts. {compared_text}",
        "", f"| script | {store.SAMPLE}, beside BCC | | {' | '.join(_KERNELS)} |", "|---|---|---|" + "---|" * len(_KERNELS), *rows, "",
        "What those said on other kernels that ended by themselves:", "",
        *(f"- {script} ({', '.join(kernels)}): {reason}" for (script, reason), kernels in reasons.items()), ""])


def _cell(text: str) -> str:
    text = " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
    return text if len(text) <= 160 else text[:157] + "…"
