"""Attaching 10,000 kernel functions by pattern: beside the bare multi-attach where the kernel has it (target 1.2), and
under 20 s where it has not. In a guest: ``python -m bench attach_many --guest 6.12``.
"""

from __future__ import annotations

import struct
import time

from bench.harness import Report, Row, ms

N = 10_000
_SECONDS_ONE_BY_ONE = 20.0
_TARGET = 1.2
_SOURCE = "int at_entry(struct pt_regs *ctx) { return 0; }"


def run(report: Report) -> None:
    import ebpf
    from ebpf.kernel import features

    what = f"attaching {N:,} functions"
    try:
        functions = ebpf.host.functions("[a-z].*")
    except ebpf.EbpfError as error:
        report.skip(what, error.message)
        return
    # Those that only tracing itself uses would have it trace itself.
    chosen = [name for name in functions if "bpf" not in name and "trace" not in name and "rcu" not in name][:N]
    try:
        with ebpf.load(ebpf.compile(_SOURCE, dialect="bcc"), backend="kernel", types={"at_entry": "kprobe"}) as session:
            program = session.programs["at_entry"]
            start = time.perf_counter()
            link = program.attach_kprobes(chosen, partly=True)
            ours = time.perf_counter() - start
            attached = list(link.functions)
            link.detach()
            bare = _bare(session, attached) if features.have("kprobe_multi") else None
    except (ebpf.NotSupported, ebpf.PrivilegeError) as error:
        report.skip(what, error.message)
        return
    if bare is None:
        scaled = ours * N / max(1, len(attached))
        report.add(Row(f"{what}, one by one", f"{scaled:.1f} s", f"{_SECONDS_ONE_BY_ONE:.0f} s",
                       scaled / _SECONDS_ONE_BY_ONE, 1.0))
    else:
        report.add(Row(f"{what} / the bare call ({len(attached)})", ms(ours), ms(bare), ours / bare, _TARGET))


def _bare(session: object, functions: list[str]) -> float:
    """The kernel's own share: one BPF_LINK_CREATE with all names."""
    from ebpf.abi.programs import AttachType, ProgType
    from ebpf.kernel import programs, sys
    from tests.kernel import code

    with programs.load_program(code.returns(0), type=ProgType.KPROBE,
                               expected_attach_type=AttachType.TRACE_KPROBE_MULTI) as program:
        names = [name.encode() + b"\0" for name in functions]
        pointers = struct.pack(f"@{len(names)}Q", *map(sys.address_of, names))
        start = time.perf_counter()
        result, _ = sys.attempt("LINK_CREATE", prog_fd=program.fileno(), attach_type=AttachType.TRACE_KPROBE_MULTI,
                                extra=struct.pack("@IIQQQ", 0, len(names), sys.address_of(pointers), 0, 0))
        taken = time.perf_counter() - start
        assert result >= 0, result
        sys.OwnedFd(result).close()
        return taken
