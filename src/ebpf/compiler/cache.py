"""What need not be done twice: finished objects with the facts they rest on, and indexes of BTF.

An object is kept with its *manifest*: every question that compiling it put to the host (`RecordingFacts`) and the
answer, names that were absent included. It is given out again only if the source, the options, this package, LLVM and
every one of those answers are still the same. A hit reads one file and asks those questions; it imports no part of the
compiler.

The directory is ``$EBPF_CACHE_DIR``, else ``$XDG_CACHE_HOME/ebpf``, else ``~/.cache/ebpf``; an empty ``EBPF_CACHE_DIR``
switches the cache off. What comes out of it runs in the kernel, so directory and files are used only if they belong to
the effective user and nobody else may write to them, checked on the opened descriptors; otherwise there is no cache,
and `state` says why. Files are written under another name and renamed, carry a checksum, and are removed, longest
unused first, when all together exceed `MAX_BYTES`.

Nothing here raises for what is wrong with the cache: a program must work without it.
"""

from __future__ import annotations

import os
import sys
from stat import S_ISDIR, S_ISREG
from zlib import crc32

TYPE_CHECKING = False  # importing `typing` would cost what a whole hit may cost
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ebpf.btf import Btf
    from ebpf.btf.index import Scan
    from ebpf.compiler.facts import Facts

MAX_BYTES = 96 << 20
_MAX_FILE_BYTES = 32 << 20
_MAGIC = b"ebpf-cache 1 "
_O_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_COMPILER_PACKAGES = (
    "compiler", "compiler/c", "compiler/c/dialect", "compiler/llvm", "compiler/trace", "compiler/py", "abi", "btf",
    "object",
)


# ------------------------------------------------------------------------------------------------------------ files


def directory() -> str | None:
    """The cache directory's path; None where it is switched off or there is no home."""
    chosen = os.environ.get("EBPF_CACHE_DIR")
    if chosen is not None:
        return chosen or None
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification: relative paths are to be ignored
        home = os.environ.get("HOME") or os.path.expanduser("~")
        # Of users that have none (services), the home in the user database does not exist: it is not ours to make.
        if not os.path.isabs(home) or not os.path.isdir(home):
            return None
        base = f"{home}/.cache"
    return f"{base}/ebpf"


class Store:
    """Bytes under a key, in files. Also an `IndexStore` for `ebpf.btf`.

    `get` answers None and `put` gives up silently whatever is wrong; ``why_not`` says why the directory is not used.
    """

    __slots__ = ("_fd", "_opened", "path", "why_not")

    def __init__(self, path: str | None = None) -> None:
        self.path = path if path is not None else directory()
        self.why_not = "" if self.path else "switched off by EBPF_CACHE_DIR, or no home directory"
        self._fd = -1
        self._opened = False

    def _directory(self, *, create: bool = False) -> int:
        """A descriptor of the directory, checked; -1 where it cannot be used."""
        if self._fd >= 0 or not self.path or (self._opened and self.why_not):
            return self._fd
        self._opened = True
        try:
            fd = os.open(self.path, _O_READ | os.O_DIRECTORY)
        except FileNotFoundError:
            if not create:
                return -1
            try:
                os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
                try:
                    os.mkdir(self.path, 0o700)
                except FileExistsError:
                    pass
                fd = os.open(self.path, _O_READ | os.O_DIRECTORY)
            except OSError as error:
                self.why_not = f"{self.path} cannot be made: {error.strerror}"
                return -1
        except OSError as error:
            self.why_not = f"{self.path} cannot be used: {error.strerror}"
            return -1
        self.why_not = _distrust(fd, self.path, want_directory=True)
        if self.why_not:
            os.close(fd)
            return -1
        self._fd = fd
        return fd

    def get(self, key: str, /) -> bytes | None:
        """What was put under ``key``; None if there is nothing that can be trusted and is whole."""
        folder = self._directory()
        return _read(folder, _file_name(key)) if folder >= 0 else None

    def put(self, key: str, value: bytes, /) -> None:
        """Keep ``value`` under ``key``, instead of what was there."""
        if len(value) > _MAX_FILE_BYTES:
            return
        folder = self._directory(create=True)
        if folder < 0:
            return
        name, check = _file_name(key), crc32(value)
        new = f".{name}.{os.getpid()}"
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        except OSError:
            return
        try:
            with open(fd, "wb", buffering=0) as file:
                view = memoryview(b"%s%08x\n%s" % (_MAGIC, check, value))
                while view:
                    view = view[file.write(view) :]
            os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:  # a full disk, say
            try:
                os.unlink(new, dir_fd=folder)
            except OSError:
                pass
            return
        # Looking the whole directory over takes milliseconds where it has thousands of small files: done about once for
        # each 64th of the limit that is written. The checksum is the die.
        if not check % max(MAX_BYTES // (64 * (len(value) + 4096)), 1):
            _evict(folder)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._opened = -1, False

    def __del__(self) -> None:
        try:
            self.close()
        except (AttributeError, TypeError):  # the interpreter may be half gone, `os` with it
            pass


def _distrust(fd: int, path: str, *, want_directory: bool) -> str:
    """Why what ``fd`` is open on must not be used; "" if it may."""
    status = os.fstat(fd)
    if not (S_ISDIR if want_directory else S_ISREG)(status.st_mode):
        return f"{path} is no {'directory' if want_directory else 'file'}"
    if status.st_uid != os.geteuid():
        return f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}"
    if status.st_mode & 0o022:
        return f"others may write to {path} (mode {status.st_mode & 0o777:o})"
    return ""


def _file_name(key: str) -> str:
    """Plain keys stay readable."""
    if len(key) <= 120 and key.replace("-", "").replace("_", "").isalnum() and key.isascii():
        return key
    digest: str = _sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    return digest


def _read(folder: int, name: str) -> bytes | None:
    try:
        fd = os.open(name, _O_READ, dir_fd=folder)
    except OSError:
        return None
    if _distrust(fd, name, want_directory=False):
        os.close(fd)
        return None
    with open(fd, "rb", buffering=0) as file:
        try:
            data = file.read(_MAX_FILE_BYTES + 64)
            os.utime(fd)  # what is used last is removed last
        except OSError:
            return None
    start = len(_MAGIC) + 9
    if not data or data[: len(_MAGIC)] != _MAGIC or data[start - 1 : start] != b"\n":
        return None
    value = data[start:]
    return value if b"%08x" % crc32(value) == data[len(_MAGIC) : start - 1] else None


def _evict(folder: int) -> None:
    """Remove files, longest unused first, until a quarter is free again; leftovers of dead writers too."""
    total, files = 0, []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                total += status.st_size
                files.append((status.st_mtime, status.st_size, entry.name))
        if total <= MAX_BYTES:
            return
        files.sort()
        for _, size, name in files:
            if total <= MAX_BYTES * 3 // 4:
                break
            os.unlink(name, dir_fd=folder)
            total -= size
    except OSError:
        pass


class CacheState:
    """What `ebpf doctor` tells: ``usable`` or ``why_not``; ``entries`` and ``bytes`` of it; ``ignored`` names files
    that are there and not used, each with the reason."""

    __slots__ = ("bytes", "entries", "ignored", "path", "usable", "why_not")

    def __init__(
        self,
        path: str | None,
        usable: bool,
        why_not: str,
        entries: int,
        bytes: int,
        ignored: tuple[tuple[str, str], ...],
    ) -> None:
        self.path = path
        self.usable = usable
        self.why_not = why_not
        self.entries = entries
        self.bytes = bytes
        self.ignored = ignored


def state(path: str | None = None) -> CacheState:
    """Look the cache over; reads every file."""
    store = Store(path)
    folder = store._directory()
    if folder < 0:
        return CacheState(store.path, not store.why_not, store.why_not, 0, 0, ())
    entries = total = 0
    ignored = []
    for name in sorted(os.listdir(folder)):
        try:
            fd = os.open(name, _O_READ, dir_fd=folder)
        except OSError as error:
            ignored.append((name, error.strerror or "cannot be opened"))
            continue
        try:
            reason = _distrust(fd, name, want_directory=False)
            total += os.fstat(fd).st_size
        finally:
            os.close(fd)
        if not reason and _read(folder, name) is None:
            reason = "damaged, or left behind by a writer that was killed" if name[0] == "." else "damaged"
        if reason:
            ignored.append((name, reason))
        else:
            entries += 1
    store.close()
    return CacheState(store.path, True, "", entries, total, tuple(ignored))


def clear(path: str | None = None) -> int:
    """Empty the cache; the number of files removed."""
    store = Store(path)
    folder = store._directory()
    count = 0
    if folder >= 0:
        for name in os.listdir(folder):
            try:
                os.unlink(name, dir_fd=folder)
                count += 1
            except OSError:
                pass
        store.close()
    return count


# -------------------------------------------------------------------------------------------------------- manifests


class RecordingFacts:
    """Facts that write down what they are asked: ``questions`` maps (question, arguments…) to the answer's text.

    Of `ScriptFacts` (the tracing language's) as well as of `Facts`: what is not asked need not be there.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.questions: dict[tuple[str, ...], str] = {}

    def _ask(self, *question: str) -> Any:
        answer = _answer(self._facts, question)
        self.questions[question] = _text(answer)
        return answer

    @property
    def arch(self) -> str:
        return self._ask("arch")  # type: ignore[no-any-return]

    @property
    def kernel_id(self) -> str:
        return self._ask("kernel_id")  # type: ignore[no-any-return]

    @property
    def kernel_version(self) -> int:
        return self._ask("kernel_version")  # type: ignore[no-any-return]

    @property
    def cpus_online(self) -> int:
        return self._ask("cpus_online")  # type: ignore[no-any-return]

    @property
    def cpus_possible(self) -> int:
        return self._ask("cpus_possible")  # type: ignore[no-any-return]

    @property
    def page_size(self) -> int:
        return self._ask("page_size")  # type: ignore[no-any-return]

    def prepare(self) -> Scan | None:
        return self._facts.prepare()  # type: ignore[attr-defined,no-any-return]

    def btf(self) -> Btf | None:
        # One kernel build has one BTF: its identity stands for every type in it, and for every name that is not.
        self._ask("kernel_id")
        return self._facts.btf()

    def module_btfs(self) -> tuple[Btf, ...]:
        modules = self._facts.module_btfs()
        self._ask("kernel_id")
        self.questions["modules",] = _text(_modules())
        return modules

    def tracepoint_format(self, category: str, name: str) -> str | None:
        return self._ask("tracepoint_format", category, name)  # type: ignore[no-any-return]

    def kconfig(self, name: str) -> str | None:
        return self._ask("kconfig", name)  # type: ignore[no-any-return]

    def syscall_prefix(self) -> str:
        return self._ask("syscall_prefix")  # type: ignore[no-any-return]

    def read_include(self, path: str) -> str | None:
        return self._ask("read_include", path)  # type: ignore[no-any-return]

    def functions(self, pattern: str) -> tuple[str, ...] | None:
        # As of types: one build of the kernel with one set of modules has one set of functions. To list them again at
        # each start would cost what a whole hit may cost.
        self._ask("kernel_id")
        self.questions["modules",] = _text(_modules())
        return self._facts.functions(pattern)  # type: ignore[attr-defined,no-any-return]

    def tracepoints(self, pattern: str) -> tuple[str, ...] | None:
        self._ask("kernel_id")
        self.questions["modules",] = _text(_modules())
        return self._facts.tracepoints(pattern)  # type: ignore[attr-defined,no-any-return]

    def inode(self, path: str) -> int | None:
        return self._ask("inode", path)  # type: ignore[no-any-return]

    def user_symbol(self, path: str, name: str) -> int | None:
        return self._ask("user_symbol", path, name)  # type: ignore[no-any-return]

    def user_file(self, path: str) -> str | None:
        return self._ask("user_file", path)  # type: ignore[no-any-return]

    def user_types(self, path: str, name: str, near: str) -> bytes | None:
        # One state of a file has one set of types: to read them again at each start would take longer than a hit.
        self._ask("user_file", path)
        return self._facts.user_types(path, name, near)  # type: ignore[attr-defined,no-any-return]

    def usdt_arguments(self, path: str, provider: str, name: str) -> tuple[tuple[int, str], ...] | None:
        return self._ask("usdt_arguments", path, provider, name)  # type: ignore[no-any-return]


_ATTRIBUTES = frozenset(("arch", "kernel_id", "kernel_version", "cpus_online", "cpus_possible", "page_size"))
_METHODS = frozenset(
    """
    tracepoint_format kconfig syscall_prefix read_include inode user_symbol user_file usdt_arguments
    """.split()
)


def _answer(facts: Facts, question: tuple[str, ...]) -> object:
    name = question[0]
    if name in _ATTRIBUTES:
        return getattr(facts, name)
    if name in _METHODS:
        return getattr(facts, name)(*question[1:])
    return _modules() if name == "modules" else None


def _modules() -> str:
    """The loaded modules that have types, with their sizes."""
    try:
        with os.scandir("/sys/kernel/btf") as entries:
            return " ".join(sorted(f"{e.name}:{e.stat().st_size}" for e in entries))
    except OSError:
        return ""


def _text(answer: object) -> str:
    """An answer in one line; long ones by their digest."""
    if answer is None:
        return "-"
    text = str(answer)
    if len(text) > 100 or "\n" in text or "\t" in text:
        return f"#{_sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()}"
    return "=" + text


def _emit(questions: dict[tuple[str, ...], str], elf: bytes) -> bytes:
    lines = [
        "facts",
        *(
            "\t".join((answer, *question))
            for question, answer in questions.items()
            if not any("\t" in part or "\n" in part for part in question)
        ),
    ]
    if len(lines) != len(questions) + 1:
        return b""  # a file name with a tab in it: not worth a notation
    return "\n".join((*lines, "", "")).encode("utf-8", "surrogateescape") + elf


def _still_true(manifest: str, facts: Facts) -> bool:
    head, *lines = manifest.split("\n")
    for line in lines:
        answer, *question = line.split("\t")
        if _text(_answer(facts, tuple(question))) != answer:
            return False
    return head == "facts"


# ------------------------------------------------------------------------------------------------------------ objects


def _is_on(name: str) -> bool:
    """Whether a switch (`ebpf.compiler.coverage`, say) is there at all, and on: who does not use it does not import it.
    """
    switch = sys.modules.get(f"ebpf.compiler.{name}")
    return switch is not None and switch.is_on()


def object_key(text: str, filename: str, options: Iterable[object]) -> str:
    """The key of a compilation: its inputs, this package's compiler, LLVM, and the running kernel's release."""
    system = os.uname()
    parts = [text, filename, *map(repr, options), "covered" * _is_on("coverage"), "located" * _is_on("variables"),
             _compiler_identity(), system.release, system.version, system.machine]
    digest = _sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogateescape")
        digest.update(b"%d:" % len(raw) + raw)
    return f"object-{digest.hexdigest()}"


def cached_object(store: Store, key: str, facts: Facts) -> bytes | None:
    """The object kept under ``key``, if every fact that it rests on is still so."""
    data = store.get(key)
    if data is None:
        return None
    manifest, _, elf = data.partition(b"\n\n")
    try:
        true = _still_true(manifest.decode("utf-8", "surrogateescape"), facts)
    except Exception:  # a fact that cannot be had any more is told by the compilation, in its own words
        return None
    return elf if true and elf[:4] == b"\x7fELF" else None


def keep_object(store: Store, key: str, facts: RecordingFacts, elf: bytes) -> None:
    data = _emit(facts.questions, elf)
    if data:
        store.put(key, data)


_identity = ""


def _compiler_identity() -> str:
    """Changes whenever a file of the compiler or LLVM's library does."""
    global _identity
    if not _identity:
        here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        parts = [llvm_identity()]
        for package in _COMPILER_PACKAGES:
            try:
                with os.scandir(f"{here}/{package}") as entries:
                    for entry in entries:
                        if entry.name.endswith(".py"):
                            status = entry.stat()
                            parts.append(f"{package}/{entry.name}:{status.st_mtime_ns}:{status.st_size}")
            except OSError:  # inside a zip archive: then the version has to do
                from ebpf import __version__

                parts.append(__version__)
        _identity = _sha256("\n".join(sorted(parts)).encode()).hexdigest()
    return _identity


def llvm_identity() -> str:
    """Changes with LLVM's library, which is not loaded for it."""
    from sys import path

    for folder in path:
        for name in ("libllvmlite.so", "libllvmlite.dylib", "llvmlite.dll"):
            file = f"{folder or '.'}/llvmlite/binding/{name}"
            try:
                status = os.stat(file)
            except OSError:
                continue
            return f"{file}:{status.st_mtime_ns}:{status.st_size}"
    return "none"


def _sha256(data: bytes = b"") -> Any:
    # The interpreter's own: hashlib loads OpenSSL, which costs what a whole hit may cost.
    global _sha256
    try:
        from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        try:
            from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore,no-redef]
        except ImportError:
            from hashlib import sha256  # type: ignore[assignment,unused-ignore]
    _sha256 = sha256
    return sha256(data)
