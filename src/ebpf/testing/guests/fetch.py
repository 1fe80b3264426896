"""Kernels from Debian's archive into the store. Downloads and unpacks; installs nothing and needs no root."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

from ebpf.testing.guests import store
from ebpf.testing.guests.guest import GuestError

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Which suites may hold a wanted kernel. An archive's suites are asked for together: apt skips none silently.
_SUITES = {
    "main": "bookworm bookworm-backports trixie trixie-backports sid",
    "security": "bullseye-security bookworm-security trixie-security",
}


def fetch(name: str, say: Callable[[str], None] = print) -> store.Kernel:
    """Fetches the newest ``name``.x kernel that the archive still has (old patch releases vanish from it)."""
    _require_tools()
    apt = _Apt(store.directory() / "apt")
    apt.update()
    release, packages = _choose(name, apt.package_names())
    say(f"{name}: fetching linux {release}")
    work = store.directory() / f".fetching-{name}-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    try:
        (work / "debs").mkdir(parents=True)
        apt.download(work / "debs", *packages, "busybox-static")
        for deb in sorted((work / "debs").glob("*.deb")):
            target = "box" if deb.name.startswith("busybox") else "root"
            _run("dpkg-deb", "-x", deb, work / target)
        _install(work, name, release)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    found = store.kernel(name)
    assert found is not None
    return found


def _require_tools() -> None:
    lacking = [tool for tool in ("apt-get", "dpkg-deb", "lz4", "zstd") if shutil.which(tool) is None]
    if lacking:
        raise GuestError(f"fetching kernels needs {', '.join(lacking)} (apt-get install apt dpkg lz4 zstd)")
    if not _KEYRING.exists():
        raise GuestError(f"fetching kernels needs {_KEYRING} (apt-get install debian-archive-keyring)")


def _choose(name: str, there: set[str]) -> tuple[str, list[str]]:
    """The newest release called ``name`` whose packages are complete, and those packages."""
    pattern = re.compile(rf"linux-image-({re.escape(name)}\.\d+(?:-\d+|-0\.deb\d+\.\d+)?(?:\+deb[\d.]+)?-amd64)")
    releases = [m[1] for p in there if (m := pattern.fullmatch(p))]
    # From 6.19 on an image is split in parts, of which some leave the archive before others.
    complete = [r for r in releases if f"linux-binary-{r}" not in there or f"linux-modules-{r}" in there]
    if not complete:
        raise GuestError(f"Debian's archive has no kernel {name} (anymore)")
    release = max(complete, key=lambda r: [int(number) for number in re.findall(r"\d+", r)])
    parts = [f"linux-{part}-{release}" for part in ("image", "binary", "modules", "base")]
    return release, [p for p in parts if p in there]


def _install(work: Path, name: str, release: str) -> None:
    new = work / "new"
    (new / "modules").mkdir(parents=True)
    trees = [t for t in (work / "root/usr/lib/modules" / release, work / "root/lib/modules" / release) if t.exists()]
    for tree in trees:
        shutil.copytree(tree, new / "modules" / release, symlinks=True, dirs_exist_ok=True)
    images = [work / "root/boot" / f"vmlinuz-{release}", *(tree / "vmlinuz" for tree in trees)]
    image = next(i for i in images if i.exists())
    (new / "vmlinux").write_bytes(unpack_image(image.read_bytes()))
    config = work / "root/boot" / f"config-{release}"
    if config.exists():
        shutil.copy(config, new / "config")
    box = next(p for p in (work / "box/usr/bin/busybox", work / "box/bin/busybox") if p.exists())
    os.replace(box, store.busybox())
    # depmod looks below lib/modules.
    (work / "lib").mkdir()
    (work / "lib/modules").symlink_to(new / "modules")
    _run(store.busybox(), "depmod", "-b", work, release)
    (new / "release").write_text(release)
    shutil.rmtree(store.directory() / name, ignore_errors=True)
    os.replace(new, store.directory() / name)


def unpack_image(image: bytes) -> bytes:
    """The ELF file inside a bzImage (Linux's Documentation/arch/x86/boot.rst: setup_sects, payload_offset/_length)."""
    if image[0x1FE:0x200] != b"\x55\xaa" or image[0x202:0x206] != b"HdrS":
        raise GuestError("not a bzImage")
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start:start + length]
    # The last four bytes are the unpacked size, not part of the stream.
    stream, size = payload[:-4], struct.unpack("<I", payload[-4:])[0]
    for magic, unpack in _UNPACKERS.items():
        if payload.startswith(magic):
            elf = unpack(stream)
            if len(elf) != size or not elf.startswith(b"\x7fELF"):
                raise GuestError("the kernel image does not unpack to an ELF file")
            return elf
    raise GuestError(f"the kernel image is packed in a way unknown here ({payload[:4].hex()})")


def _pipe(*argv: str) -> Callable[[bytes], bytes]:
    return lambda data: subprocess.run(argv, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


_UNPACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\xfd7zXZ": lambda data: lzma.LZMADecompressor().decompress(data),
    b"\x1f\x8b": lambda data: zlib.decompressobj(31).decompress(data),
    b"\x02\x21\x4c\x18": _pipe("lz4", "-dc"),
    b"\x28\xb5\x2f\xfd": _pipe("zstd", "-dcq"),
}


class _Apt:
    """apt with lists, sources and archives of its own: the machine's are not touched."""

    def __init__(self, place: Path) -> None:
        for part in ("lists/partial", "cache/archives/partial", "sources"):
            (place / part).mkdir(parents=True, exist_ok=True)
        entries = [
            f"Types: deb\nURIs: {uri}\nSuites: {_SUITES[kind]}\nComponents: main\nArchitectures: amd64\n"
            f"Signed-By: {_KEYRING}\n" for kind, uri in self._archives().items()
        ]
        (place / "sources/debian.sources").write_text("\n".join(entries))
        settings = {
            "Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": place / "sources",
            "Dir::Etc::preferencesparts": "/dev/null", "Dir::State::lists": place / "lists",
            "Dir::State::status": "/dev/null", "Dir::Cache": place / "cache", "APT::Architecture": "amd64",
            "APT::Update::Post-Invoke-Success": "",
        }
        if os.geteuid() == 0:  # apt's own user may not write into our cache
            settings["APT::Sandbox::User"] = "root"
        self._options = [x for key, value in settings.items() for x in ("-o", f"{key}={value}")]

    @staticmethod
    def _archives() -> dict[str, str]:
        """Debian's archives by kind: the mirrors that this machine's own apt uses, unless EBPF_DEBIAN_ARCHIVES names
        others ("MAIN-URI SECURITY-URI")."""
        if named := os.environ.get("EBPF_DEBIAN_ARCHIVES", "").split():
            return dict(zip(_SUITES, named))
        listing = subprocess.run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)"],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        archives = {}
        for line in listing.splitlines():
            origin, _, uri = line.partition(" ")
            if origin == "Debian":
                archives["security" if "security" in uri else "main"] = uri
        if "main" not in archives:
            raise GuestError("this machine's apt knows no Debian archive (or needs `apt-get update` first); name one: "
                             'EBPF_DEBIAN_ARCHIVES="MAIN-URI SECURITY-URI"')
        return archives

    def update(self) -> None:
        _run("apt-get", *self._options, "-qq", "update")

    def package_names(self) -> set[str]:
        return set(_run("apt-cache", *self._options, "pkgnames").split())

    def download(self, into: Path, *packages: str) -> None:
        _run("apt-get", *self._options, "-qq", "download", *packages, cwd=into)


def _run(*argv: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(a) for a in argv], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise GuestError(f"{argv[0]} failed: {done.stderr.strip() or done.returncode}")
    return done.stdout
