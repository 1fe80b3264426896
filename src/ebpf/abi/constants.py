"""Constants of the kernel that its BTF does not have, because they are macros.

Enumerators (``BPF_ANY``, ``IPPROTO_TCP``, ``XDP_PASS``…) that programs need where no BTF is at hand are here too.
`lookup_constant` answers an ``int``, or C text for a constant that is an expression. Function-like macros are the C
front end's (`ebpf.compiler.c.macros`).
"""

from __future__ import annotations

from ebpf.abi.constants_generated import UAPI_CONSTANTS

# Inside the kernel only, the same on every architecture and release that we know (5.4 to 7.2).
KERNEL_CONSTANTS: dict[str, int | str] = {
    # time
    "NSEC_PER_SEC": 1000000000, "NSEC_PER_MSEC": 1000000, "NSEC_PER_USEC": 1000, "USEC_PER_SEC": 1000000,
    "USEC_PER_MSEC": 1000, "MSEC_PER_SEC": 1000, "PSEC_PER_SEC": 1000000000000, "FSEC_PER_SEC": 1000000000000000,
    # limits of C's types (include/linux/limits.h, vdso/limits.h)
    "U8_MAX": 0xFF, "S8_MAX": 0x7F, "S8_MIN": "(-0x7f - 1)", "U16_MAX": 0xFFFF, "S16_MAX": 0x7FFF,
    "S16_MIN": "(-0x7fff - 1)", "U32_MAX": "0xffffffffU", "U32_MIN": 0, "S32_MAX": 0x7FFFFFFF,
    "S32_MIN": "(-0x7fffffff - 1)", "U64_MAX": "0xffffffffffffffffULL", "S64_MAX": "0x7fffffffffffffffLL",
    "S64_MIN": "(-0x7fffffffffffffffLL - 1)", "INT_MAX": 0x7FFFFFFF, "INT_MIN": "(-0x7fffffff - 1)",
    "UINT_MAX": "0xffffffffU", "LONG_MAX": "0x7fffffffffffffffL", "LONG_MIN": "(-0x7fffffffffffffffL - 1)",
    "ULONG_MAX": "0xffffffffffffffffUL", "LLONG_MAX": "0x7fffffffffffffffLL",
    "LLONG_MIN": "(-0x7fffffffffffffffLL - 1)", "ULLONG_MAX": "0xffffffffffffffffULL", "USHRT_MAX": 0xFFFF,
    "SHRT_MAX": 0x7FFF, "SHRT_MIN": "(-0x7fff - 1)", "UCHAR_MAX": 0xFF, "SCHAR_MAX": 0x7F, "CHAR_BIT": 8,
    "SIZE_MAX": "0xffffffffffffffffUL", "BITS_PER_BYTE": 8, "BITS_PER_LONG": 64, "BITS_PER_LONG_LONG": 64,
    "INT8_MAX": 0x7F, "INT16_MAX": 0x7FFF, "INT32_MAX": 0x7FFFFFFF, "INT64_MAX": "0x7fffffffffffffffLL",
    "UINT8_MAX": 0xFF, "UINT16_MAX": 0xFFFF, "UINT32_MAX": "0xffffffffU", "UINT64_MAX": "0xffffffffffffffffULL",
    "NULL": "((void *)0)", "true": 1, "false": 0,
    # names and sizes
    "TASK_COMM_LEN": 16, "DISK_NAME_LEN": 32, "BDEVNAME_SIZE": 32, "MODULE_NAME_LEN": 56, "MAX_ADDR_LEN": 32,
    "__NEW_UTS_LEN": 64, "UTS_LEN": 64, "KSYM_NAME_LEN": 512, "CRYPTO_MAX_ALG_NAME": 128, "TCP_CA_NAME_MAX": 16,
    "IFALIASZ": 256, "QSTR_NAME_MAX": 255, "VLAN_HLEN": 4, "VLAN_ETH_HLEN": 18, "VLAN_VID_MASK": 0x0FFF,
    "VLAN_PRIO_MASK": 0xE000, "VLAN_PRIO_SHIFT": 13, "VLAN_N_VID": 4096, "VLAN_CFI_MASK": 0x1000,
    "BPF_MAX_TRAMP_LINKS": 38, "MAX_BPF_STACK": 512, "MAX_TAIL_CALL_CNT": 33, "PERF_MAX_STACK_DEPTH": 127,
    "PERF_MAX_CONTEXTS_PER_STACK": 8, "SECTOR_SHIFT": 9, "SECTOR_SIZE": 512, "MINORBITS": 20, "MINORMASK": 0xFFFFF,
    # struct task_struct
    "PF_IDLE": 0x2, "PF_EXITING": 0x4, "PF_IO_WORKER": 0x10, "PF_WQ_WORKER": 0x20, "PF_FORKNOEXEC": 0x40,
    "PF_MCE_PROCESS": 0x80, "PF_SUPERPRIV": 0x100, "PF_DUMPCORE": 0x200, "PF_SIGNALED": 0x400, "PF_MEMALLOC": 0x800,
    "PF_KSWAPD": 0x20000, "PF_KTHREAD": 0x200000, "PF_RANDOMIZE": 0x400000,
    "TASK_RUNNING": 0, "TASK_INTERRUPTIBLE": 1, "TASK_UNINTERRUPTIBLE": 2, "__TASK_STOPPED": 4, "__TASK_TRACED": 8,
    "EXIT_DEAD": 0x10, "EXIT_ZOMBIE": 0x20, "EXIT_TRACE": 0x30, "TASK_PARKED": 0x40, "TASK_DEAD": 0x80,
    "TASK_WAKEKILL": 0x100, "TASK_WAKING": 0x200, "TASK_NOLOAD": 0x400, "TASK_NEW": 0x800, "TASK_KILLABLE": 0x102,
    "TASK_STOPPED": 0x104, "TASK_IDLE": 0x402, "TASK_NORMAL": 3,
    "PREEMPT_MASK": 0xFF, "SOFTIRQ_MASK": 0xFF00, "SOFTIRQ_SHIFT": 8, "HARDIRQ_MASK": 0xF0000, "HARDIRQ_SHIFT": 16,
    # files, block devices
    "FMODE_READ": 0x1, "FMODE_WRITE": 0x2, "FMODE_LSEEK": 0x4, "FMODE_PREAD": 0x8, "FMODE_PWRITE": 0x10,
    "FMODE_EXEC": 0x20, "FMODE_OPENED": 0x80000, "FMODE_CREATED": 0x100000,
    "READ": 0, "WRITE": 1, "REQ_OP_BITS": 8, "REQ_OP_MASK": 0xFF, "MAY_EXEC": 1, "MAY_WRITE": 2, "MAY_READ": 4,
    "MAY_APPEND": 8, "MAY_ACCESS": 0x10, "MAY_OPEN": 0x20, "MAY_CHDIR": 0x40,
    "SB_RDONLY": 1, "SB_NOSUID": 2, "SB_NODEV": 4, "SB_NOEXEC": 8, "ATTR_MODE": 1, "ATTR_UID": 2, "ATTR_GID": 4,
    "ATTR_SIZE": 8, "CAP_OPT_NONE": 0, "CAP_OPT_NOAUDIT": 2, "CAP_OPT_INSETID": 4,
    "S_IRWXUGO": 0o777, "S_IALLUGO": 0o7777, "S_IRUGO": 0o444, "S_IWUGO": 0o222, "S_IXUGO": 0o111,
    "VM_NONE": 0, "VM_READ": 1, "VM_WRITE": 2, "VM_EXEC": 4, "VM_SHARED": 8, "VM_MAYREAD": 0x10, "VM_MAYWRITE": 0x20,
    "VM_MAYEXEC": 0x40, "VM_GROWSDOWN": 0x100,
    # errors that never leave the kernel
    "ERESTARTSYS": 512, "ERESTARTNOINTR": 513, "ERESTARTNOHAND": 514, "ENOIOCTLCMD": 515, "ERESTART_RESTARTBLOCK": 516,
    "EPROBE_DEFER": 517, "EOPENSTALE": 518, "ENOPARAM": 519, "EBADHANDLE": 521, "ENOTSYNC": 522, "EBADCOOKIE": 523,
    "ENOTSUPP": 524, "ETOOSMALL": 525, "ESERVERFAULT": 526, "EBADTYPE": 527, "EJUKEBOX": 528, "EIOCBQUEUED": 529,
    "MAX_ERRNO": 4095, "SIGRTMIN": 32, "SIGRTMAX": 64, "_NSIG": 64,
    # network
    "IP_CE": 0x8000, "IP_DF": 0x4000, "IP_MF": 0x2000, "IP_OFFSET": 0x1FFF, "IPV6_MIN_MTU": 1280,
    "TCPHDR_FIN": 0x01, "TCPHDR_SYN": 0x02, "TCPHDR_RST": 0x04, "TCPHDR_PSH": 0x08, "TCPHDR_ACK": 0x10,
    "TCPHDR_URG": 0x20, "TCPHDR_ECE": 0x40, "TCPHDR_CWR": 0x80, "NEXTHDR_HOP": 0, "NEXTHDR_TCP": 6, "NEXTHDR_UDP": 17,
    "NEXTHDR_IPV6": 41, "NEXTHDR_ROUTING": 43, "NEXTHDR_FRAGMENT": 44, "NEXTHDR_ESP": 50, "NEXTHDR_AUTH": 51,
    "NEXTHDR_ICMP": 58, "NEXTHDR_NONE": 59, "NEXTHDR_DEST": 60, "TCP_INIT_CWND": 10, "TCP_MAX_QUICKACKS": 16,
    "TCP_ESTABLISHED": 1, "TCP_SYN_SENT": 2, "TCP_SYN_RECV": 3, "TCP_FIN_WAIT1": 4, "TCP_FIN_WAIT2": 5,
    "TCP_TIME_WAIT": 6, "TCP_CLOSE": 7, "TCP_CLOSE_WAIT": 8, "TCP_LAST_ACK": 9, "TCP_LISTEN": 10, "TCP_CLOSING": 11,
    "TCP_NEW_SYN_RECV": 12, "CHECKSUM_NONE": 0, "CHECKSUM_UNNECESSARY": 1, "CHECKSUM_COMPLETE": 2,
    "CHECKSUM_PARTIAL": 3,
    # libbpf's words
    "LIBBPF_PIN_NONE": 0, "LIBBPF_PIN_BY_NAME": 1, "TRI_NO": 0, "TRI_YES": 1, "TRI_MODULE": 2,
    # memory allocation (the bits below have not moved since 4.19)
    "__GFP_DMA": 0x1, "__GFP_HIGHMEM": 0x2, "__GFP_DMA32": 0x4, "__GFP_MOVABLE": 0x8, "__GFP_RECLAIMABLE": 0x10,
    "__GFP_HIGH": 0x20, "__GFP_IO": 0x40, "__GFP_FS": 0x80, "__GFP_ZERO": 0x100, "__GFP_DIRECT_RECLAIM": 0x400,
    "__GFP_KSWAPD_RECLAIM": 0x800, "__GFP_RECLAIM": 0xC00, "GFP_KERNEL": 0xCC0, "GFP_NOIO": 0xC00, "GFP_NOFS": 0xC40,
    "KERN_SOH": '"\\001"', "KERN_EMERG": '"\\0010"', "KERN_ALERT": '"\\0011"', "KERN_CRIT": '"\\0012"',
    "KERN_ERR": '"\\0013"', "KERN_WARNING": '"\\0014"', "KERN_NOTICE": '"\\0015"', "KERN_INFO": '"\\0016"',
    "KERN_DEBUG": '"\\0017"', "KERN_DEFAULT": '""', "KERN_CONT": '"\\001c"',
}

# Where an architecture has a value of its own. PAGE_SIZE of arm64 is that of Debian's and Ubuntu's kernels.
ARCH_CONSTANTS: dict[str, dict[str, int | str]] = {
    "x86_64": {
        "PAGE_SHIFT": 12, "PAGE_SIZE": 4096, "PAGE_MASK": "(~(4096UL - 1))", "O_LARGEFILE": 0o100000,
        "THREAD_SIZE": 16384, "L1_CACHE_BYTES": 64, "SMP_CACHE_BYTES": 64, "__x86_64__": 1,
        "__PAGE_OFFSET_BASE_L4": "0xffff888000000000UL", "__PAGE_OFFSET_BASE_L5": "0xff11000000000000UL",
        "PAGE_OFFSET": "0xffff888000000000UL", "__START_KERNEL_map": "0xffffffff80000000UL",
    },
    "aarch64": {
        "PAGE_SHIFT": 12, "PAGE_SIZE": 4096, "PAGE_MASK": "(~(4096UL - 1))", "THREAD_SIZE": 16384,
        "L1_CACHE_BYTES": 64, "SMP_CACHE_BYTES": 64, "__aarch64__": 1,
        "O_DIRECTORY": 0o40000, "O_NOFOLLOW": 0o100000, "O_DIRECT": 0o200000, "O_LARGEFILE": 0o400000,
        "O_TMPFILE": 0o20040000,
    },
}

# Values that changed: (first release with the value, value), oldest first.
CHANGED_CONSTANTS: dict[str, tuple[tuple[tuple[int, int], int], ...]] = {
    "DNAME_INLINE_LEN": (((0, 0), 32), ((6, 12), 40)),
    "PF_VCPU": (((0, 0), 0x10), ((5, 10), 0x1)),
    "PF_NOFREEZE": (((0, 0), 0x8000), ((6, 4), 0x10000)),
    "GFP_ATOMIC": (((0, 0), 0xA20), ((6, 3), 0x820)),
    "GFP_NOWAIT": (((0, 0), 0x800), ((6, 7), 0x2800)),
    "KSYM_NAME_LEN": (((0, 0), 128), ((6, 1), 512)),
    "MAX_TAIL_CALL_CNT": (((0, 0), 32), ((5, 17), 33)),
}


def lookup_constant(name: str, *, arch: str = "x86_64", kernel: tuple[int, int] = (6, 1)) -> int | str | None:
    """The constant called ``name`` on that architecture (``platform.machine()``'s name) and kernel release.

    An ``int``, or C text where the constant has a type or a meaning of its own; ``None`` if it is not in the table.
    """
    steps = CHANGED_CONSTANTS.get(name)
    if steps is not None:
        return [value for since, value in steps if since <= kernel][-1]
    found = ARCH_CONSTANTS.get(arch, {}).get(name)
    if found is None:
        found = KERNEL_CONSTANTS.get(name)
    if found is None:
        found = UAPI_CONSTANTS.get(name)
    return found


def constant_names() -> set[str]:
    """Every name that `lookup_constant` may know, for suggestions."""
    names = UAPI_CONSTANTS.keys() | KERNEL_CONSTANTS.keys() | CHANGED_CONSTANTS.keys()
    return names.union(*(table.keys() for table in ARCH_CONSTANTS.values()))
