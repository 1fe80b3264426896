"""Which ``#include`` costs nothing: types come from BTF by name, macros from `macros.py`, so their text is
never read.
"""

from __future__ import annotations

# Directories of the kernel's tree, of libbpf, of BCC and of the C library.
_DIRECTORIES = frozenset(
    """
    linux uapi net asm asm-generic bpf bcc sys generated drm scsi sound trace rdma crypto block acpi kvm xen video
    media soc misc memory keys vdso ras netinet arpa gnu bits kernel fs mm drivers arch kunit cxl xdp libbpf
""".split()
)

_FILES = frozenset(
    """
    vmlinux.h bpf.h bpf_helpers.h bpf_helper_defs.h bpf_core_read.h bpf_tracing.h bpf_endian.h bpf_experimental.h
    bpf_kfuncs.h bpf_tracing_net.h bpf_arena_common.h usdt.bpf.h libbpf.h btf.h proto.h helpers.h footer.h
    bcc_version.h types.h assert.h complex.h ctype.h errno.h fcntl.h fenv.h float.h inttypes.h iso646.h limits.h
    locale.h math.h pthread.h sched.h setjmp.h signal.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h
    stdio.h stdlib.h stdnoreturn.h string.h strings.h time.h unistd.h uchar.h wchar.h wctype.h elf.h endian.h
    byteswap.h poll.h syscall.h
""".split()
)

# A file of this name is never read, not even where it exists: it may be 3 MB of what BTF says already.
_ALWAYS = frozenset(
    {
        "vmlinux.h",
        "bpf_helpers.h",
        "bpf_helper_defs.h",
        "bpf_core_read.h",
        "bpf_tracing.h",
        "bpf_endian.h",
        "usdt.bpf.h",
    }
)


def costs_nothing(name: str, *, quoted: bool) -> bool:
    """Whether ``#include`` of ``name`` is answered without looking for a file.

    ``"types.h"`` in quotes may well be the program's own, so only what nobody means otherwise counts then.
    """
    base = name.rpartition("/")[2]
    if base in _ALWAYS or base.startswith("vmlinux"):
        return True
    return not quoted and is_known(name)


def is_known(name: str) -> bool:
    """Whether ``name`` is a header of the kernel, libbpf, BCC or the C library (for quoted ones: if no such
    file is found).
    """
    path = name
    while path.startswith(("../", "./")):
        path = path.partition("/")[2]
    return path in _FILES or path.partition("/")[0] in _DIRECTORIES and "/" in path
