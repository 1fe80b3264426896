"""The debugger's full screen, driven by Textual's pilot; and what is said where Textual is missing."""

from __future__ import annotations

import asyncio
import builtins
from pathlib import Path
from typing import Any

import pytest

import ebpf

TRAFFIC = Path(__file__).parents[1] / "testing" / "traffic.c"
PACKET = bytes(12) + b"\x08\0" + bytes.fromhex("4500002800010000400600000a0000010a000002") + bytes(20)


def test_without_textual_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def missing(name: str, *args: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "textual":
            raise ImportError(name)
        return original(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with ebpf.debug(TRAFFIC, PACKET, program="fw") as debugger, pytest.raises(ebpf.UsageError) as caught:
        debugger.full_screen()
    assert "pip install 'ebpf[debug]'" in ebpf.format_error(caught.value)


def test_keys_and_commands() -> None:
    pytest.importorskip("textual", reason="the full screen needs Textual: pip install 'ebpf[debug]'")
    from textual.widgets import Static

    from ebpf.debugger.screen import DebuggerApp

    async def drive(debugger: ebpf.Debugger) -> None:
        app = DebuggerApp(debugger)

        def shown(name: str) -> str:
            return str(app.query_one(f"#{name}", Static).render())

        async with app.run_test(size=(160, 60)) as pilot:
            assert "void *data" in shown("source") and "=> " in shown("bytecode")
            await pilot.press("f11")
            assert debugger.stopped == "step" and "h_proto" in shown("source")
            await pilot.press("f8")
            await pilot.press("f6")
            steps = debugger.steps
            assert "r10 " in shown("registers") and "stack memory" in shown("registers")
            await pilot.press(*"break", "space", *"map:drops", "enter")
            assert "breakpoint 1: map drops" in shown("answers")
            await pilot.press("f5")
            assert debugger.stopped == "breakpoint 1" and debugger.steps > steps
            assert "a map (`drops`)" in shown("registers") and "r10-" in shown("stack")
            assert "struct xdp_md *ctx = " in shown("locals")
            await pilot.press("f5", "f5")
            assert debugger.finished and "XDP_DROP" in shown("source") and "16777226: 1" in shown("maps")
            await pilot.press("f2")
            assert not debugger.finished and "empty" in shown("maps")
            await pilot.press("f9")
            assert [b.kind for b in debugger.breakpoints] == ["map", "insn"]
            await pilot.press("q", "enter")

    with ebpf.debug(TRAFFIC, PACKET, program="fw") as debugger:
        asyncio.run(drive(debugger))
