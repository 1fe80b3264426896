"""Hooks that kernels renamed or took away, and what does their work now: one row each.

Scripts name functions and tracepoints of the kernel they were written on. Where one is missing, the answer is a name
that this kernel has; `replacements` gives candidates, newest first, and whoever asks takes the first that exists.
"""

from __future__ import annotations

from typing import Final

# kind:name → what replaces it, newest first. The comment says which Linux changed it.
_ROWS: Final[dict[str, tuple[str, ...]]] = {
    # functions
    "kprobe:do_sys_open": ("kprobe:do_sys_openat2",),  # 5.6
    "kprobe:blk_account_io_start": ("tracepoint:block:block_io_start", "kprobe:__blk_account_io_start",  # 5.16; 6.5
                                    "kprobe:blk_mq_start_request"),
    "kprobe:blk_account_io_done": ("tracepoint:block:block_io_done", "kprobe:__blk_account_io_done",  # 5.16; 6.5
                                   "tracepoint:block:block_rq_complete"),
    "kprobe:__blk_account_io_start": ("tracepoint:block:block_io_start", "kprobe:blk_account_io_start"),  # 6.14
    "kprobe:__blk_account_io_done": ("tracepoint:block:block_io_done", "kprobe:blk_account_io_done"),  # 6.14
    "kprobe:blk_start_request": ("kprobe:blk_mq_start_request",),  # 5.0
    "kprobe:blk_mq_start_request": ("tracepoint:block:block_rq_issue",),
    "kprobe:generic_make_request": ("kprobe:submit_bio_noacct",),  # 5.9
    "kprobe:swap_readpage": ("kprobe:swap_read_folio",),  # 6.8
    "kprobe:tcp_drop": ("tracepoint:skb:kfree_skb", "kprobe:kfree_skb_reason"),  # 5.17, 5.18
    # the compiler's work: it passed a member in place of the struct
    "kprobe:finish_task_switch": ("kprobe:finish_task_switch.isra.0", "tracepoint:sched:sched_switch"),
    "kprobe:kfree_skb": ("tracepoint:skb:kfree_skb", "kprobe:sk_skb_reason_drop", "kprobe:kfree_skb_reason"),  # 5.17
    "kprobe:kfree_skb_reason": ("tracepoint:skb:kfree_skb", "kprobe:sk_skb_reason_drop"),  # 6.11
    "kprobe:account_page_dirtied": ("kprobe:folio_account_dirtied", "kprobe:__folio_mark_dirty"),  # 5.16
    "kprobe:folio_account_dirtied": ("kprobe:__folio_mark_dirty",),  # the compiler's work
    "kprobe:__page_cache_alloc": ("kprobe:filemap_alloc_folio_noprof", "kprobe:filemap_alloc_folio"),  # 5.16, 6.10
    "kprobe:kmem_cache_alloc": ("kprobe:kmem_cache_alloc_noprof",),  # 6.10
    "kprobe:ttwu_do_wakeup": ("kprobe:ttwu_do_activate",),  # 6.3
    "kprobe:mark_page_accessed": ("kprobe:folio_mark_accessed",),  # 5.16
    "kprobe:add_to_page_cache_lru": ("kprobe:filemap_add_folio",),  # 5.16
    "kprobe:__do_page_cache_readahead": ("kprobe:do_page_cache_ra", "kprobe:page_cache_ra_unbounded"),  # 5.8, 5.10
    "kprobe:do_page_cache_ra": ("kprobe:page_cache_ra_unbounded",),  # the compiler's work
    "kprobe:_do_fork": ("kprobe:kernel_clone",),  # 5.10
    # system calls that newer architectures (arm64, riscv64) never had
    "tracepoint:syscalls:sys_enter_open": ("tracepoint:syscalls:sys_enter_openat",),
    "tracepoint:syscalls:sys_exit_open": ("tracepoint:syscalls:sys_exit_openat",),
    "tracepoint:syscalls:sys_enter_creat": ("tracepoint:syscalls:sys_enter_openat",),
    "tracepoint:syscalls:sys_exit_creat": ("tracepoint:syscalls:sys_exit_openat",),
    "tracepoint:syscalls:sys_enter_stat": ("tracepoint:syscalls:sys_enter_newstat",
                                           "tracepoint:syscalls:sys_enter_newfstatat"),
    "tracepoint:syscalls:sys_enter_lstat": ("tracepoint:syscalls:sys_enter_newlstat",
                                            "tracepoint:syscalls:sys_enter_newfstatat"),
    "tracepoint:syscalls:sys_enter_newstat": ("tracepoint:syscalls:sys_enter_newfstatat",),
    "tracepoint:syscalls:sys_exit_newstat": ("tracepoint:syscalls:sys_exit_newfstatat",),
    "tracepoint:syscalls:sys_enter_newlstat": ("tracepoint:syscalls:sys_enter_newfstatat",),
    "tracepoint:syscalls:sys_exit_newlstat": ("tracepoint:syscalls:sys_exit_newfstatat",),
    "tracepoint:syscalls:sys_enter_fork": ("tracepoint:syscalls:sys_enter_clone",),
    "tracepoint:syscalls:sys_enter_vfork": ("tracepoint:syscalls:sys_enter_clone",),
    "tracepoint:syscalls:sys_enter_poll": ("tracepoint:syscalls:sys_enter_ppoll",),
    "tracepoint:syscalls:sys_enter_select": ("tracepoint:syscalls:sys_enter_pselect6",),
    "tracepoint:syscalls:sys_enter_epoll_wait": ("tracepoint:syscalls:sys_enter_epoll_pwait",),
    "tracepoint:syscalls:sys_enter_unlink": ("tracepoint:syscalls:sys_enter_unlinkat",),
    "tracepoint:syscalls:sys_enter_rename": ("tracepoint:syscalls:sys_enter_renameat2",),
    "tracepoint:syscalls:sys_enter_mkdir": ("tracepoint:syscalls:sys_enter_mkdirat",),
    "tracepoint:syscalls:sys_enter_getdents": ("tracepoint:syscalls:sys_enter_getdents64",),
    "tracepoint:syscalls:sys_enter_access": ("tracepoint:syscalls:sys_enter_faccessat",),
    "tracepoint:syscalls:sys_enter_umount": ("tracepoint:syscalls:sys_enter_umount2",),
    # other tracepoints
    "tracepoint:tcp:tcp_set_state": ("tracepoint:sock:inet_sock_set_state",),  # 4.16
}

# Functions that are still there, for old callers, while nearly everybody calls what they call: a probe belongs there.
_MOVED: Final = {
    "kprobe:add_to_page_cache_lru": "kprobe:filemap_add_folio",  # 5.16
    "kprobe:mark_page_accessed": "kprobe:folio_mark_accessed",  # 5.16
}

# Functions that are gone, while another that is probed along with them anyway does their work.
_ABSORBED: Final = {
    "kprobe:tcp_sendpage": "kprobe:tcp_sendmsg",  # 6.5
}

# Static functions that scripts ask for, and do without if they are told no: compilers put them into their only caller.
_INLINED: Final = frozenset(("kprobe:folio_account_dirtied",))

# Members whose presence tells scripts which form of a function this is, and what they are called now.
_MEMBERS: Final = {
    "renamedata.old_mnt_userns": ("old_mnt_idmap", "mnt_idmap"),  # 6.3, 6.18
}

# Tracepoints whose (raw) arguments begin with those of the function whose place they take.
_SAME_ARGUMENTS: Final = frozenset((
    "tracepoint:block:block_io_start", "tracepoint:block:block_io_done", "tracepoint:block:block_rq_complete",
))


def moved(probe: str) -> str | None:
    """Where the calls go that a probe is meant to see, though its function still exists; None: they go there."""
    kind, _, name = probe.partition(":")
    found = _MOVED.get(f"kprobe:{name}")
    return None if found is None else f"{kind}:{found.partition(':')[2]}"


def absorbed(probe: str) -> str | None:
    """The probe that sees what one on a function that is gone would see, if scripts have it too; else None."""
    kind, _, name = probe.partition(":")
    found = _ABSORBED.get(f"kprobe:{name}")
    return None if found is None else f"{kind}:{found.partition(':')[2]}"


def is_inlined(probe: str) -> bool:
    """Whether a script that asks for this function is to be told that it is there, because `replacements` knows."""
    return probe in _INLINED


def member_names(struct: str, member: str) -> tuple[str, ...]:
    """What a struct's member is called on later kernels; () if unknown."""
    return _MEMBERS.get(f"{struct}.{member}", ())


def has_same_arguments(probe: str) -> bool:
    """Whether a tracepoint's raw arguments are those of the functions that it replaces."""
    return probe in _SAME_ARGUMENTS


def replacements(probe: str) -> tuple[str, ...]:
    """What may stand for a probe (``"kprobe:swap_readpage"``) on a kernel without it, newest first; () if unknown.

    A kretprobe, fentry or fexit of a function is answered with its kind where the answer is a function.
    """
    kind, _, name = probe.partition(":")
    if kind in ("kretprobe", "fentry", "fexit"):
        return tuple(f"{kind}:{found.partition(':')[2]}" if found.startswith("kprobe:") else found
                     for found in _ROWS.get(f"kprobe:{name}", ()))
    return _ROWS.get(probe, ())
