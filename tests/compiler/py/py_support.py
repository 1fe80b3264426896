"""Programs in Python as text: compiled against the facts of a made-up kernel, run in the userspace machine."""

from __future__ import annotations

import linecache
from pathlib import Path
from typing import Any

from ebpf.abi.maps import MapType
from ebpf.compiler.py import GlobalDecl, MapDecl, ProgramDecl, compile_programs, library, types
from ebpf.machine import Machine
from ebpf.machine.environment import Task
from ebpf.object.reader import read_object
from tests.compiler.trace.trace_support import FakeFacts, Memory, StoppedClock

TASK = Task(pid=1234, tid=1235, uid=1000, gid=100, comm=b"worker", cgroup_id=77)


class HistogramDecl(MapDecl):
    histogram = True


def _maps() -> dict[str, Any]:
    def keyed(kind: MapType, cls: type[MapDecl] = MapDecl) -> Any:
        return lambda key, value, n=64, **o: cls(kind, key, value, max_entries=n, **o)

    def array(kind: MapType) -> Any:
        return lambda value, n=1, **o: MapDecl(kind, types.u32, value, max_entries=n, **o)

    return {
        "Hash": keyed(MapType.HASH), "LruHash": keyed(MapType.LRU_HASH), "PerCpuHash": keyed(MapType.PERCPU_HASH),
        "Array": array(MapType.ARRAY), "PerCpuArray": array(MapType.PERCPU_ARRAY),
        "LpmTrie": lambda key, value, n=64: MapDecl(MapType.LPM_TRIE, key, value, max_entries=n, flags=1),
        "RingBuf": lambda value, n=4096: MapDecl(MapType.RINGBUF, None, value, max_entries=n),
        "PerfEventArray": lambda value: MapDecl(MapType.PERF_EVENT_ARRAY, None, value),
        "Queue": lambda value, n=8: MapDecl(MapType.QUEUE, None, value, max_entries=n),
        "Stack": lambda value, n=8: MapDecl(MapType.STACK, None, value, max_entries=n),
        "Bloom": lambda value, n=8: MapDecl(MapType.BLOOM_FILTER, None, value, max_entries=n),
        "StackTrace": lambda n=8: MapDecl(MapType.STACK_TRACE, None, None, max_entries=n),
        "ProgArray": lambda n=8: MapDecl(MapType.PROG_ARRAY, None, None, max_entries=n),
        "DevMap": lambda n=8: MapDecl(MapType.DEVMAP, types.u32, types.u32, max_entries=n),
        "ArrayOfMaps": lambda inner, n=8: MapDecl(MapType.ARRAY_OF_MAPS, types.u32, None, max_entries=n, inner=inner),
        "HashOfMaps": lambda inner, n=8: MapDecl(MapType.HASH_OF_MAPS, types.u32, None, max_entries=n, inner=inner),
        "TaskStorage": lambda value: MapDecl(MapType.TASK_STORAGE, types.u32, value, flags=1),
        "Histogram": keyed(MapType.HASH, HistogramDecl),
        "Global": GlobalDecl,
    }


def program(section: str) -> Any:
    """The decorator that the texts use."""
    return lambda function: ProgramDecl(function, section)


def namespace() -> dict[str, Any]:
    out = {n: getattr(types, n) for n in ("u8 u16 u32 u64 i8 i16 i32 i64 be16 be32 be64 chars Struct linux").split()}
    out.update({n: v for n, v in vars(library).items() if not n.startswith("_") and callable(v)})
    out.update(_maps(), helpers=library.helpers, program=program)
    return out


def define(text: str, name: str = "case.py") -> dict[str, Any]:
    """What the text defines, as if it stood in a file of that name."""
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    names = namespace()
    exec(compile(text, name, "exec", dont_inherit=True), names)
    return names


def programs_of(names: dict[str, Any]) -> list[ProgramDecl]:
    return [v for v in names.values() if isinstance(v, ProgramDecl)]


def compiled(text: str, name: str = "case.py", facts: Any = None) -> Any:
    return compile_programs(programs_of(define(text, name)), facts=facts or FakeFacts())


def machine(elf: bytes, **options: Any) -> Machine:
    options.setdefault("task", TASK)
    return Machine(read_object(elf), clock=StoppedClock(), cpus=2, memory=Memory(), **options)


def read_cases(path: Path) -> list[tuple[str, str, str]]:
    """The cases of a file: title, text of the program, what is expected of it."""
    out = []
    for case in path.read_text().split("\n=====\n"):
        head, _, expected = case.partition("\n---\n")
        title, _, text = head.partition("\n")
        out.append((title.removeprefix("# "), text, expected.strip("\n")))
    return out
