"""C text that limits a script to containers: ``--cgroupmap`` and ``--mntnsmap`` name pinned maps of ids to let
through.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ALL = """
static inline int {name}() {{
    return 0;
}}
"""

_CGROUP = """
BPF_TABLE_PINNED("hash", u64, u64, cgroupset, 1024, "{path}");

static inline int _cgroup_filter() {{
    u64 cgroupid = bpf_get_current_cgroup_id();
    return cgroupset.lookup(&cgroupid) == NULL;
}}
"""

# struct mnt_namespace is private to the kernel's fs/; scripts that define it themselves ask for MNT_NAMESPACE_DEFINED.
_MNTNS = """
#include <linux/nsproxy.h>
#include <linux/mount.h>
#include <linux/ns_common.h>

struct mnt_namespace {{
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 11, 0)
    atomic_t count;
#endif
    struct ns_common ns;
}};
#define MNT_NAMESPACE_DEFINED

BPF_TABLE_PINNED("hash", u64, u32, mount_ns_set, 1024, "{path}");

static inline int _mntns_filter() {{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    struct nsproxy *nsproxy;
    struct mnt_namespace *mnt_ns;
    unsigned int inum;
    u64 ns_id;

    if (bpf_probe_read_kernel(&nsproxy, sizeof(nsproxy), &task->nsproxy))
        return 0;
    if (bpf_probe_read_kernel(&mnt_ns, sizeof(mnt_ns), &nsproxy->mnt_ns))
        return 0;
    if (bpf_probe_read_kernel(&inum, sizeof(inum), &mnt_ns->ns.inum))
        return 0;
    ns_id = (u64) inum;
    return mount_ns_set.lookup(&ns_id) == NULL;
}}
"""

_BOTH = """
static inline int container_should_be_filtered() {
    return _cgroup_filter() || _mntns_filter();
}
"""


def filter_by_containers(args: Any) -> str:
    """C text that defines ``container_should_be_filtered()`` from ``args.cgroupmap`` and ``args.mntnsmap`` (paths
    or ``None``).
    """
    cgroup = _CGROUP.format(path=args.cgroupmap) if args.cgroupmap else _ALL.format(name="_cgroup_filter")
    mntns = _MNTNS.format(path=args.mntnsmap) if args.mntnsmap else _ALL.format(name="_mntns_filter")
    return cgroup + mntns + _BOTH
