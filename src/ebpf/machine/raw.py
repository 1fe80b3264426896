"""Bare instructions on a block of memory: no object, no maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.errors import NotSupported, UsageError
from ebpf.machine.environment import NO_FUEL_LIMIT, Environment
from ebpf.machine.image import Image
from ebpf.machine.interpreter import Program
from ebpf.machine.stepper import Stepper
from ebpf.machine.translator import check_size

if TYPE_CHECKING:
    from ebpf.verifier import Verified

DEFAULT_LOOPS = 100_000_000
_KEPT = 64  # verdicts, of one program


class RawProgram:
    """Instruction bytes, to be run with r1 = the address of a memory block and r2 = its length.

    It is verified as such a program, for each length of block that it is given: a verdict for one length says nothing
    about another. ``verify=False`` leaves that out, for experiments with the interpreter. ``loops``: how many jumps
    backwards a run may take before it is stopped by a `MachineFault` (``None``: as many as it likes). Raises
    `InsnError` for bytes that are no program; `run` and `step` raise `VerifierError`.

    ``engine``: ``"interpreter"``, or ``"jit"``: native code of this processor. Only verified programs become that, and
    those end by proof, so that ``loops`` counts nothing there; `step` is the interpreter's.
    """

    def __init__(self, code: bytes, *, loops: int | None = DEFAULT_LOOPS, environment: Environment | None = None,
                 verify: bool = True, engine: str = "interpreter") -> None:
        check_size(code)
        native = is_native(engine, verify)
        self.code = bytes(code)
        self.verify = verify
        self._verdicts: dict[int, Verified] = {}  # by the block's length
        self.environment = environment or make_environment(native)
        self.loops = loops
        window = self.environment.space.reserve("the program's code")
        image = Image(self.code, window=window)
        self.program = Program(image, self.environment, metered=loops is not None)
        if native:
            from ebpf.machine.native.program import NativeProgram

            self.program = NativeProgram(image, self.environment)
        self._window = self.environment.space.reserve("the memory block")

    def run(self, memory: bytes | bytearray | memoryview = b"") -> int:
        """r0. A ``bytearray`` (or writable view) is worked on in place, ``bytes`` in a copy."""
        r1, r2 = self._show(memory)
        self.environment.fuel[0] = NO_FUEL_LIMIT if self.loops is None else self.loops
        try:
            return self.program.call(r1, r2)
        finally:
            self.environment.space.hide(self._window)  # whose it is may change its size again

    def repeat(self, memory: bytes | bytearray | memoryview, times: int) -> int:
        """Run it ``times`` times on the same block, one run after the other; the last r0. With native code the loop is
        native too."""
        r1, r2 = self._show(memory, thorough=True)
        if self.environment.space.native:
            from ebpf.machine.native.batch import repeat

            try:
                return repeat(self.program, r1, r2, times)  # type: ignore[arg-type]
            finally:
                self.environment.space.hide(self._window)
        result = 0
        for _ in range(times):
            self.environment.fuel[0] = NO_FUEL_LIMIT if self.loops is None else self.loops
            result = self.program.call(r1, r2)
        return result

    def step(self, memory: bytes | bytearray | memoryview = b"") -> Stepper:
        """The program before its first instruction, to be run step by step."""
        if self.environment.space.native:
            raise NotSupported("stepping through native code", who="the userspace machine",
                               instead='engine="interpreter"')
        return Stepper(self.program, *self._show(memory))

    def verified(self, length: int) -> Verified:
        """The verdict for a block of ``length`` bytes. Raises `VerifierError`."""
        found = self._verdicts.get(length)
        if found is None:
            from ebpf.verifier import verify_raw

            found = verify_raw(self.code, length)
            if len(self._verdicts) >= _KEPT:
                del self._verdicts[next(iter(self._verdicts))]
            self._verdicts[length] = found
        return found

    def _show(self, memory: bytes | bytearray | memoryview, *, thorough: bool = False) -> tuple[int, int]:
        space = self.environment.space
        if isinstance(memory, bytes) or (isinstance(memory, memoryview) and memory.readonly):
            memory = bytearray(memory)
        if isinstance(memory, memoryview):
            memory = memory.cast("B")
        if len(memory) > 1 << 24:
            raise UsageError(f"a memory block of {len(memory)} bytes: at most 16 MiB are possible")
        if self.environment.space.native:
            self.program.choose(self.code, len(memory), self.verified, thorough)  # type: ignore[attr-defined]
        elif self.verify:
            self.program.verified = self.verified(len(memory))
        if not memory:
            return 0, 0
        return space.show(self._window, memory), len(memory)


def run_raw(code: bytes, memory: bytes | bytearray | memoryview = b"", engine: str = "interpreter", *,
            loops: int | None = DEFAULT_LOOPS, verify: bool = True) -> int:
    """Run instruction bytes once with r1 = the memory block (0 if it is empty) and r2 = its length; r0, unsigned 64
    bits. They are verified as such a program first (`VerifierError`).

    ``engine``: ``"interpreter"`` or ``"jit"``. See `RawProgram`, which is faster for many runs.
    """
    return RawProgram(code, loops=loops, verify=verify, engine=engine).run(memory)


def is_native(engine: str, verify: bool) -> bool:
    """Whether ``engine`` makes native code. `UsageError` for one that there is not, or code that nobody verified."""
    if engine not in ("interpreter", "jit"):
        raise UsageError(f"there is no engine {engine!r}", helps=('it is "interpreter" or "jit"',))
    if engine == "jit" and not verify:
        raise UsageError("code that was not verified does not become native code",
                         helps=('leave verify=False away, or take engine="interpreter"',))
    return engine == "jit"


def make_environment(native: bool, **parts: Any) -> Environment:
    """An environment whose addresses are what the engine needs."""
    if native:
        from ebpf.machine.native.space import NativeSpace

        parts["space"] = NativeSpace()
    return Environment(**parts)
