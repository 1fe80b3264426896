"""Signed programs: a kernel that knows signatures takes the right one and no other; others say so."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import ebpf
from ebpf.errors import KernelError, NotSupported, UsageError
from ebpf.kernel import signing

_REQUEST = """[req]\ndistinguished_name=name\nprompt=no\nx509_extensions=more\n[name]\nCN=ebpf test\n[more]
basicConstraints=critical,CA:FALSE\nkeyUsage=digitalSignature\nsubjectKeyIdentifier=hash\n"""
_SOURCE = """
BPF_ARRAY(counts, u64, 1);
SEC("socket") int with_a_map(void *ctx) { int k = 0; u64 *c = counts.lookup(&k); return c ? *c : 0; }
SEC("socket") int plain(void *ctx) { return 3; }
"""


def identity(folder: Path, name: str) -> tuple[str, str, bytes]:
    """A new key and its certificate: two PEM files, and the certificate as DER."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    (folder / "request").write_text(_REQUEST)
    cert, key = str(folder / f"{name}.pem"), str(folder / f"{name}.key")
    subprocess.run(["openssl", "req", "-new", "-nodes", "-utf8", "-sha256", "-days", "2", "-batch", "-x509", "-newkey",
                    "rsa:2048", "-config", str(folder / "request"), "-out", cert, "-keyout", key], check=True,
                   capture_output=True)
    der = subprocess.run(["openssl", "x509", "-in", cert, "-outform", "DER"], check=True, capture_output=True).stdout
    return cert, key, der


def test_what_is_no_certificate_or_key(tmp_path: Path) -> None:
    with pytest.raises((UsageError, NotSupported)):
        signing.trust(b"no certificate")
    cert, key, _ = identity(tmp_path, "one")
    with pytest.raises(UsageError, match="could not sign"):
        signing.openssl(key, cert)(b"instructions")
    assert signing.openssl(cert, key)(b"instructions")[:1] == b"0"  # an ASN.1 sequence


@pytest.mark.kernel
def test_here(tmp_path: Path) -> None:
    signed(tmp_path)


@pytest.mark.guest(kernels=("7.2",), timeout_s=90)
def test_in_a_guest_that_knows_signatures(tmp_path: Path) -> None:
    assert signed(tmp_path), "this kernel is said to check signatures"


def signed(tmp_path: Path) -> bool:
    """Load programs with signatures; False where the kernel knows none (and says so)."""
    cert, key, der = identity(tmp_path, "one")
    sign = signing.openssl(cert, key)
    stranger = signing.openssl(*identity(tmp_path, "other")[:2])
    try:
        signing.trust(der)
    except NotSupported as error:
        pytest.skip(error.message)
    here = {"keyring": signing.SESSION_KEYRING}
    with ebpf.load(ebpf.compile(_SOURCE, dialect="bcc"), backend="kernel", load_programs=False) as session:
        seen: list[bytes] = []
        try:
            session.load_program("with_a_map", signature=lambda code: seen.append(code) or sign(code), **here)
        except NotSupported as error:
            assert error.since == "6.18" and "without" in error.instead
            return False
        assert len(seen) == 1 and seen[0] and "with_a_map" in session.programs
        code = session.obj.programs["plain"].code
        for wrong, words in ((sign(code + bytes(8)), "not made of these"), (stranger(code), "certificate"),
                             (b"0" + bytes(40), "signature|EBADMSG|EINVAL")):
            with pytest.raises((KernelError, NotSupported), match=words):
                session.load_program("plain", signature=wrong, **here)
            assert "plain" not in session.programs
        session.load_program("plain", signature=sign(code), **here)
        assert session.programs["plain"].test_run(bytes(64)).result == 3
    return True
