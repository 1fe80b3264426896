"""What the compiler is told of the running system."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ebpf.compiler.cache import Store
from ebpf.errors import PrivilegeError
from ebpf.kernel import facts, symbol_lookup, symbols


def test_without_a_configuration_what_shows_elsewhere_is_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "read_kconfig", dict)
    for prefix, wrapped in (("__x64_sys_", "y"), ("sys_", None)):
        monkeypatch.setattr(facts.SystemFacts, "syscall_prefix", lambda self, prefix=prefix: prefix)
        assert facts.SystemFacts().kconfig("ARCH_HAS_SYSCALL_WRAPPER") == wrapped
    assert facts.SystemFacts().kconfig("CONFIG_HZ") is None


def test_a_configuration_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "read_kconfig", lambda: {"CONFIG_HZ": "250"})
    known = facts.SystemFacts()
    assert (known.kconfig("HZ"), known.kconfig("CONFIG_NET_NS")) == ("250", None)


def test_a_child_scans_the_types_and_keeps_the_index(tmp_path: Path) -> None:
    """In a process of its own: no child is made beside other threads, and the tests may have some."""
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        pytest.skip("this kernel has no BTF")
    done = subprocess.run([sys.executable, "-c", SCANNED, str(tmp_path / "cache")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "scanned\n"), done.stderr


SCANNED = '''
import os, sys
from ebpf.compiler.cache import Store
from ebpf.kernel import facts
names = ("task_struct", "vfs_read", "long int", "no_such_name")
store = Store(sys.argv[1])
known = facts.SystemFacts(store)
scan = known.prepare()
assert scan is not None
btf = known.btf()
found, state = [btf.find(name) for name in names], btf.find_enumerator("TCP_ESTABLISHED")
scan.finish()
again = facts.SystemFacts(store)
assert again.prepare() is None, "the child has left an index"
kept = again.btf()
assert kept.has_index and [kept.find(name) for name in names] == found
assert kept.find_enumerator("TCP_ESTABLISHED") == state is not None
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("scanned")
'''

def test_no_child_beside_threads(tmp_path: Path) -> None:
    """One of them may hold a lock that the child would wait for."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert facts.SystemFacts(Store(str(tmp_path / "cache"))).prepare() is None
    finally:
        done.set()
        thread.join()


@pytest.mark.kernel
def test_the_kernel_says_what_kallsyms_says() -> None:
    if symbol_lookup.has_symbol("vfs_read") is None:
        raise PrivilegeError("bpf_kallsyms_lookup_name", needs=("CAP_BPF", "CAP_PERFMON"))
    listed = symbols.kernel_symbols()
    for name in ("vfs_read", "__x64_sys_bpf", "do_exit", "vfs_raed", "x" * 127):
        assert symbol_lookup.has_symbol(name) == (name in listed), name
    assert symbol_lookup.has_symbol("x" * 128) is None, "longer than the program takes"
    assert facts.SystemFacts().functions("vfs_read") == ("vfs_read",)
    assert facts.SystemFacts().functions("vfs_raed") == ()
