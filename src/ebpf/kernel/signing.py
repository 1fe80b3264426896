"""Signatures of programs (Linux 6.18): the kernel checks one against the certificates of a keyring when it loads them.

What is signed are the instructions as they go to the kernel: descriptors of maps filled in, fields moved to where this
kernel has them. So a signature can be made ahead only for a program that refers to neither; for others sign when they
are loaded (`signature` may be a function). libbpf's scheme signs a program that loads the others ("light skeleton");
those are not made here.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import TYPE_CHECKING, Final

from ebpf.errors import EbpfError, KernelError, NotSupported, UsageError
from ebpf.kernel import sys

if TYPE_CHECKING:
    from collections.abc import Callable

#: The special keyrings of keyctl(2), and the numbers by which BPF_PROG_LOAD names the kernel's own.
SESSION_KEYRING, USER_KEYRING = -3, -4
BUILTIN_KEYS, SECONDARY_KEYS, PLATFORM_KEYS = 0, 1, 2

_NR_ADD_KEY: Final = {"x86_64": 248, "s390x": 278, "ppc64le": 269}
_EKEYS: Final = {126: "no certificate in that keyring belongs to it", 127: "the certificate has expired",
                 128: "the certificate was revoked", 129: "it was not made of these instructions by that key",
                 74: "it is no PKCS#7 message", 2: "there is no such keyring", 22: "there is no such keyring"}


def trust(certificate: bytes, keyring: int = SESSION_KEYRING) -> int:
    """Add a certificate (X.509, DER) to a keyring of this process: its key's serial number. Needs no privilege."""
    kind, name = b"asymmetric\0", b"ebpf\0"
    number = _NR_ADD_KEY.get(os.uname().machine, 217)
    result = sys.system_call(number, sys.address_of(kind), sys.address_of(name), sys.address_of(certificate),
                             len(certificate), keyring)
    if result < 0:
        if -result in (38, 19):  # ENOSYS, ENODEV
            raise NotSupported("keyrings", instead="a kernel with CONFIG_KEYS and CONFIG_ASYMMETRIC_KEY_TYPE")
        if -result == 74:
            raise UsageError("that is no X.509 certificate in DER form",
                             helps=("openssl x509 -in cert.pem -outform DER -out cert.der",))
        raise sys.failure("add_key()", -result)
    return result


def openssl(certificate: str, key: str) -> Callable[[bytes], bytes]:
    """Who signs with a private key and its certificate (paths of PEM files): bytes → PKCS#7 message, by ``openssl``."""
    def sign(instructions: bytes) -> bytes:
        with tempfile.NamedTemporaryFile() as file:
            file.write(instructions)
            file.flush()
            try:
                done = subprocess.run(
                    ["openssl", "cms", "-sign", "-binary", "-in", file.name, "-signer", certificate, "-inkey", key,
                     "-outform", "DER", "-md", "sha256", "-noattr", "-nocerts", "-nosmimecap"], capture_output=True)
            except FileNotFoundError:
                raise UsageError("signing takes the command `openssl`, which is not installed") from None
        if done.returncode or not done.stdout:
            raise UsageError(f"openssl could not sign with {key}",
                             notes=done.stderr.decode(errors="replace").strip().splitlines()[:2])
        return done.stdout

    return sign


def refusal(name: str, errno: int, keyring: int) -> EbpfError | None:
    """What is wrong with the signature of the program ``name``, if that errno speaks of it."""
    if errno in (7, 95, sys.ENOTSUPP):  # E2BIG, EOPNOTSUPP
        return NotSupported("signatures of programs", since="6.18", instead="load it without (signature=None)", notes=(
            "the kernel is built without them" if errno != 7 else "its BPF_PROG_LOAD has no place for one",))
    reason = _EKEYS.get(errno)
    if reason is None:
        return None
    return KernelError("bpf(BPF_PROG_LOAD)", errno, message=f"loading {name!r}: its signature is refused: {reason}",
                       notes=(f"asked for keyring {keyring}",))
