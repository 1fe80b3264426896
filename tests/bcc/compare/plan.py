"""What is run: a row for each case, one at least for each script of Debian's package."""

from __future__ import annotations

from typing import NamedTuple

FOLDER = "/usr/sbin"
MODULES = "loop ext4 xfs btrfs sch_netem zram nfs nfsv4 md_mod raid1 kvm"
_WORK_MODULES = {"disk:ext4": ("loop", "ext4"), "disk:xfs": ("loop", "xfs"), "disk:btrfs": ("loop", "btrfs"),
                 "lossy": ("sch_netem",), "swap": ("zram",)}
_SCRIPT_MODULES = {"nfsdist": ("nfs", "nfsv4"), "nfsslower": ("nfs", "nfsv4"), "mdflush": ("md_mod", "raid1"),
                   "kvmexit": ("kvm",)}


class Case(NamedTuple):
    """``args`` may hold ``{words}`` of `work.prepare`; ``work`` names the pieces of work.

    ``how`` the outputs are compared: ``lines`` (those with a mark, but for times), ``loose`` (the same, but for all numbers),
    ``hist`` (histograms: the same headers; counts nearly equal), ``counts`` (a count and what was counted, added up over
    intervals), ``keys`` (which lines with a mark there are, but for numbers),
    ``near`` (the same lines but for numbers; whole numbers, added up over lines that are alike, nearly equal),
    ``text`` (all lines), ``starts`` (not compared: started and read).
    ``because``: why they cannot agree. ``terminal``: it wants to draw on one.
    ``marks``: regular expressions that tell the lines about the work. ``ends``: it ends by itself.
    ``apart``: one after the other (Debian's BCC leaves a register's garbage in a user probe's semaphore: nobody else can then
    probe the same place).
    """

    args: tuple[str, ...] = ()
    work: str = ""
    marks: str = "wl-"
    how: str = "lines"
    ends: bool = False
    apart: bool = False
    linger_s: float = 0.7
    script: str = ""
    terminal: bool = False
    because: str = ""

    @property
    def path(self) -> str:
        """The script's file."""
        return self.script

    def modules(self) -> tuple[str, ...]:
        """Modules of the kernel that it wants."""
        found = [module for piece in self.work.split() for module in _WORK_MODULES.get(piece, ())]
        return (*found, *_SCRIPT_MODULES.get(self.script.rpartition("/")[2].removesuffix("-bpfcc"), ()))

    @property
    def compare(self) -> bool:
        """Whether BCC runs it too."""
        return self.how != "starts"


def _cases(rows: dict[str, Case]) -> dict[str, Case]:
    found = {}
    for name, case in rows.items():
        tool = name.partition(" ")[0]
        path = f"{FOLDER}/{tool}-bpfcc" if not tool.startswith(("uca", "ufl", "ugc", "uob", "ust", "uth")) else f"{FOLDER}/{tool}"
        found[name.replace(" ", "-")] = case._replace(script=path)
    return found



def _apart(*args: object, **rest: object) -> Case:
    return Case(*args, **rest)._replace(apart=True)  # type: ignore[arg-type]


_LIBC = "/lib/x86_64-linux-gnu/libc.so.6"

CASES: dict[str, Case] = _cases({
    "argdist": _apart(("-i", "2", "-C", "p:c:getpgid(int pid):int:pid"), "getpgids", "pid = ", "counts", linger_s=2.5),
    "argdist hist": Case(("-i", "2", "-H", "r::vfs_write():u64:$retval"), "files", "", "hist", linger_s=2.5),
    "bashreadline": _apart(work="shell", marks="wl-typed"),
    "bindsnoop": Case(work="tcp tcp6"),
    "biolatency": Case(work="disk:ext4", how="hist"),
    "biolatency queued": Case(("-Q", "-D"), "disk:ext4", "loop", "hist"),
    "biolatpcts": Case(("-i", "2", "/dev/{device}"), "disk:ext4", "^(read|write|flush)", "keys", linger_s=2.5),
    "biopattern": Case(("600",), "disk:ext4", "loop", "near"),
    "biosnoop": Case(work="disk:ext4", marks="loop", how="loose"),
    "biotop": Case(("-C", "600"), "disk:ext4", "wl-work.*loop", "near"),
    "bitesize": Case(work="disk:ext4", marks="wl-work", how="hist"),
    "bpflist": _apart(work="holder", marks="wl-holder", ends=True),
    "btrfsdist": Case(work="disk:btrfs files:btrfs", how="hist"),
    "btrfsslower": Case(("0",), "disk:btrfs files:btrfs"),
    "cachestat": Case(("600",), "disk:ext4", "^ +[0-9]", "near",
                      because="BCC's probes are on functions that the page cache of 6.1 calls no longer: it counts too little"),
    "cachetop": Case(("1",), "disk:ext4", "wl-work", "starts", linger_s=2.5, terminal=True),
    "capable": Case(work="mounts"),
    "capable stacks": _apart(("-K", "-U", "-x"), "mounts", "sys_mount|cap_capable|ns_capable", "keys", linger_s=8),
    "compactsnoop": Case(work="compact"),
    "cpudist": Case(("2",), "cpu", how="hist", linger_s=2.5),
    "cpuunclaimed": Case(("1", "2"), ends=True, how="starts"),
    "criticalstat": Case(how="starts"),
    "dbslower": Case(("mysql",), how="starts"),
    "dbstat": Case(("mysql",), how="starts"),
    "dcsnoop": Case(work="files", marks="wl-missing"),
    "dcstat": Case(("1",), "files", "^[0-9:]+ +[1-9]", "near", linger_s=1.5),
    "deadlock": _apart(("{locker}", "--binary", _LIBC), "locker", "Deadlock|Mutex M|^@ ", "keys", linger_s=4),
    "dirtop": Case(("-C", "-d", "/tmp/wl", "600"), "files", "/tmp/wl", "near"),
    "drsnoop": Case(work="swap", how="starts"),
    "execsnoop": Case(work="execs", marks="wl-|exit 3"),
    "exitsnoop": Case(work="execs", marks="echo|sh |wl-"),
    "ext4dist": Case(("2",), "disk:ext4 files:ext4", how="hist", linger_s=2.5),
    "ext4slower": Case(("0",), "disk:ext4 files:ext4"),
    "filegone": Case(work="files"),
    "filelife": Case(work="files"),
    "fileslower": Case(("0",), "files"),
    "filetop": Case(("-C", "-r", "5000", "600"), "files"),
    "funccount": _apart(("c:getpg*",), "getpgids", "getpg"),
    "funccount kernel": Case(("tcp_v4_co*",), "tcp", "tcp_v4"),
    "funcinterval": _apart(("c:getpgid",), "getpgids", how="hist"),
    "funclatency": _apart(("c:getpgid",), "getpgids", how="hist"),
    "funclatency kernel": Case(("-u", "do_mount*|path_mount"), "mounts", how="hist"),
    "funcslower": _apart(("-u", "1", "c:getpgid"), "getpgids"),
    "gethostlatency": _apart(work="dns", marks="localhost|wl-host"),
    "hardirqs": Case(("-C", "2"), "remote", "virtio1", "near", linger_s=2.5),
    "inject": _apart(("kmalloc", "-I", "linux/mm.h", "__x64_sys_getpgid()"), how="keys", marks="getpgid"),
    "killsnoop": Case(work="signals"),
    "klockstat": Case(("-d", "4"), "files", how="starts", ends=True),
    "kvmexit": Case(("2",), how="starts", ends=True),
    "llcstat": Case(("2",), how="starts", ends=True),
    "mdflush": Case(work="syncs", how="starts"),
    "memleak": _apart(("-p", "{waiter}", "-o", "10", "-z", "12345", "-Z", "12360", "2"), "waiter", "bytes in|libc|ffi|python",
                    "keys", linger_s=4),
    "mountsnoop": Case(work="mounts"),
    "mysqld_qslower": Case(("{waiter}",), "waiter", how="starts"),
    "netqtop": Case(("-n", "lo", "-i", "2"), "udp", "[0-9]", "keys", linger_s=2.5),
    "nfsdist": Case(how="starts"),
    "nfsslower": Case(how="starts"),
    "offcputime": Case(("-f", "-K"), "sleeps", "^wl-work;.*nanosleep", "keys"),
    "offwaketime": Case(("-f", "--stack-storage-size", "16384"), "threads", "^wl-work;.*futex.*;wl-work", "keys"),
    "oomkill": Case(work="oom", how="loose"),
    "opensnoop": Case(work="files", marks="wl-file|wl-missing"),
    "opensnoop failed": Case(("-x", "-T", "-U"), "files", "wl-missing"),
    "pidpersec": Case(work="execs", marks="PIDs/sec", how="keys", linger_s=1.5),
    "ppchcalls": Case(how="starts"),
    "profile": Case(("-f", "-F", "99"), "cpu", "wl-work", how="starts"),
    "readahead": Case(work="disk:ext4", marks="pages:|used", how="near"),
    "runqlat": Case(("2",), "cpu", how="hist", linger_s=2.5),
    "runqlen": Case(("2",), "cpu", how="hist", linger_s=2.5),
    "runqslower": Case(("20000",), "cpu", "wl-work", "keys"),
    "shmsnoop": Case(work="shm"),
    "slabratetop": Case(("-C", "600"), "files", "^(filp|dentry|names_cache)", "near"),
    "sofdsnoop": Case(work="scm"),
    "softirqs": Case(("-C", "2"), "udp", "net_rx|timer", "near", linger_s=2.5),
    "solisten": Case(work="tcp tcp6"),
    "sslsniff": _apart(work="openssl", marks="wl-secret|bye"),
    "stackcount": Case(("tcp_v4_connect",), "tcp", ".", "keys"),
    "stackcount user": _apart(("c:getpgid",), "getpgids", ".", "keys"),
    "statsnoop": Case(work="files", marks="wl-work"),
    "syncsnoop": Case(work="syncs", marks="sync"),
    "syscount": Case(("-p", "{waiter}"), "waiter", "getpgid|openat|clone"),
    "tcpaccept": Case(work="tcp tcp6"),
    "tcpcong": Case(("-R", "5553-5553", "600"), "lossy", "5553", "keys"),
    "tcpconnect": Case(work="tcp tcp6"),
    "tcpconnlat": Case(work="tcp tcp6"),
    "tcpdrop": Case(work="lossy", marks="5553", how="loose"),
    "tcplife": Case(work="tcp tcp6", marks="555[12]"),
    "tcpretrans": Case(work="lossy", marks="5553"),
    "tcprtt": Case(work="tcp", how="hist"),
    "tcpstates": Case(work="tcp", marks="555[12]"),
    "tcpsubnet": Case(("-i", "600", "127.0.0.0/8",), "tcp", "127", "counts"),
    "tcpsynbl": Case(work="tcp", how="hist"),
    "tcptop": Case(("-C", "600"), "tcp", "555[12]"),
    "tcptracer": Case(work="tcp tcp6"),
    "threadsnoop": _apart(work="threads"),
    "tplist": Case(("syscalls:sys_enter_get*",), how="text", ends=True),
    "trace": _apart(("c:getpgid \"asked %d\", arg1",), "getpgids"),
    "trace tracepoint": Case(("t:syscalls:sys_enter_getpgid \"asked %d\", args->pid",), "getpgids"),
    "trace string": Case(("do_sys_openat2 \"%s\", arg2@user",), "files", "wl-file|wl-missing"),
    "trace stacks": _apart(("-K", "-U", "p::vfs_fsync_range"), "files", r"\[kernel\]|\[overlay\]|wl-work", "keys",
                          linger_s=8),
    "ttysnoop": Case(("-C", "{tty}"), "tty", "wl-typed"),
    "ucalls": Case(("-l", "none", "-S", "{waiter}"), "waiter", "openat|getpgid", "counts"),
    # Python 3.11 tells of returns, and of calls no longer
    "uflow": _apart(("-l", "python", "{python}"), "python", "wl_", "loose"),
    "ugc": _apart(("-l", "python", "{python}"), "python", r"^[0-9.]+ +[0-9.]+ ", "loose"),
    "uobjnew": _apart(("-l", "c", "{waiter}"), "waiter", "1234", "counts"),
    "ustat": Case(("-C", "2"), how="starts", linger_s=2.5),
    "uthreads": _apart(("-l", "none", "{waiter}"), "waiter", how="starts"),
    "vfscount": _apart(work="files", marks="vfs_(open|write|fsync_range|unlink|rename)", how="near"),
    "vfsstat": Case(("1",), "files", "^[0-9:]+ +[0-9]", "near"),
    "virtiostat": Case(("600",), "remote", "virtio1.*requests", "near"),
    "wakeuptime": Case(("-f",), "sleeps", "wl-work", "keys"),
    "xfsdist": Case(work="disk:xfs files:xfs", how="hist"),
    "xfsslower": Case(("0",), "disk:xfs files:xfs"),
    "zfsdist": Case(how="starts"),
    "zfsslower": Case(how="starts"),
})
