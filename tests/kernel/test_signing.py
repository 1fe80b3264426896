"""Signed programs: a kernel that knows signatures takes the right one and no other; others say so."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

import ebpf
from ebpf.errors import KernelError, NotSupported, UsageError
from ebpf.kernel import programs, signing
from tests.kernel import code

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
    """A program with a map, whose instructions are known only when it is loaded; or the kernel knows no signatures."""
    cert, key, der = identity(tmp_path, "one")
    sign = signing.openssl(cert, key)
    try:
        signing.trust(der)
    except NotSupported as error:
        pytest.skip(error.message)
    with ebpf.load(ebpf.compile(_SOURCE, dialect="bcc"), backend="kernel", load_programs=False) as session:
        seen: list[bytes] = []
        try:
            session.load_program("with_a_map", signature=lambda code: seen.append(code) or sign(code),
                                 keyring=signing.SESSION_KEYRING)
        except NotSupported as error:
            assert error.since == "6.18" and "without" in str(error) and not session.programs
        else:
            assert session.programs["with_a_map"].test_run(bytes(64)).result == 0
        assert len(seen) == 1 and seen[0][:8] != bytes(8)


# A certificate (for a hundred years; nobody has its key any more), and what `openssl cms` signed with that key and with
# another: the program of `code.returns(3)`.
CERTIFICATE = base64.b64decode(
    "MIIC9DCCAdygAwIBAgIUcA0oIwTLgGzVqivA6SpEA3/YnqowDQYJKoZIhvcNAQELBQAwFDESMBAGA1UEAwwJZWJwZiB0ZXN0MCAXDTI2MTEy"
    "MTExNTI1M1oYDzIxMjYxMDI4MTE1MjUzWjAUMRIwEAYDVQQDDAllYnBmIHRlc3QwggEiMA0GCSqGSIb3DQEBAQUAA4IBDwAwggEKAoIBAQCt"
    "Qwgkc0ROUiAfbQtJN/TL4+Id2hWuJmtKhpPOFNwirjsaKjwMvPVJ6P/JnOLllreXr0sGHuMJ29BwTggtsbSZVU0lDy9NMnX11osg/S+S0HAL"
    "+f2W4M4Tig7V1FK69y2u6E7l0bjPhy3ak5FYDSyPStchTiHNKKMP3cWa/10U5nedfr1Y3mIeQBBkibgCXEGrzwEgbL/a59bwZf/TF8hJFAHJ"
    "UQS/hM3TTZCG2XoGpnYNBE+QPmoRuAyXi4l/thm2eK+Zby69zNjvnV+u9Cms2wIOpn44UGunt++3DIWNIBwAEvZbwMMt8Ew8dvsII7Ri6SdB"
    "wckxq5eISYnvOPlBAgMBAAGjPDA6MAwGA1UdEwEB/wQCMAAwCwYDVR0PBAQDAgeAMB0GA1UdDgQWBBTTWZtjSlD3aOZwlGT3ivDsRaOFajAN"
    "BgkqhkiG9w0BAQsFAAOCAQEAk93/YlX83JkzRM8BKLJfNBM0YldpBSAbHcJA2EN90VNzemeIPsbQTkxvvpx7QHXpOYWgkkXKBHIVyspOofxi"
    "FHxL58WaAruUiUPtFGPS0s8v2ck5nlBXFgfCgN7Y6/pUHwXmqH4ywCLMXow/dbT3NN8S8SWPiomgVpqNBZ1RbKJonSUwkWmoudySR1c4wHC8"
    "6vQ85bOnMg2zm7Fx6h4X7K6qkxM0GHMHjMj1+xbqA/kMKBaapPXj3TbqEiQ64ZvyTHUtzRwFzKdxeFKnkSkiO6xG9ySRIJMFPddNzlba2BOW"
    "09T+YQ1R6qyHK2cDL+EEek91t9ZxzcavELuj8ZpUcg==")
SIGNATURE = base64.b64decode(
    "MIIBiwYJKoZIhvcNAQcCoIIBfDCCAXgCAQExDTALBglghkgBZQMEAgEwCwYJKoZIhvcNAQcBMYIBVTCCAVECAQEwLDAUMRIwEAYDVQQDDAll"
    "YnBmIHRlc3QCFHANKCMEy4Bs1aorwOkqRAN/2J6qMAsGCWCGSAFlAwQCATANBgkqhkiG9w0BAQEFAASCAQAvCUgcKyHVtYUz1ksJD1GY0Akd"
    "TEudfDk7iwTwRxW8jsxgECIWlgb4NmKJ+Kmrwzb94o2cp+YKzm3UGx9FOZs8XUMX8rt43yBXrt9E/YLdyNwCy22Q7yIPGIdGmnldTyNLQx7h"
    "6beIF9CCafUuCo6p/OIqaTWfQIspS5+6C0cBsGlOIQFotjNK9goVGpImWLMF5STCZOvplHGT8UhovdoCndL/KsozV+jUIoBbiyuNa1OBtXYq"
    "+5CaMMi1R1k2sombSheEGjUv0mio95Ak+n6rXfESir+/IKYyeKUdnHoZCZ5krj99BvNvuPPwmkAKeetRlw7UDZmrkhtHtlADe1Ji")
STRANGERS = base64.b64decode(
    "MIIBiwYJKoZIhvcNAQcCoIIBfDCCAXgCAQExDTALBglghkgBZQMEAgEwCwYJKoZIhvcNAQcBMYIBVTCCAVECAQEwLDAUMRIwEAYDVQQDDAll"
    "YnBmIHRlc3QCFAwZFtikf/Tb8FixJ6Z2MsVEZG3TMAsGCWCGSAFlAwQCATANBgkqhkiG9w0BAQEFAASCAQBG7RjTUJYnfchofOpDAbwZ/hB4"
    "0uJXeDNnnBqLar/lPWlKIYAOUV+4bFzDwDubDrb9dt248MxA0pDoM4rWxSVW/dhMOagllgqtvbhRI5V/tD+qMJ9MiEEAnJR56RT28Pmcsq4x"
    "6rjFOs7JYntNnUSDvpFqqj0MMnvv/Nx+QV0CKe9Df9LrmUo5jkqNcjk3LQe6KcQ2bunkGVdR6OMjJfrmJu4V4bSOLUS1bIw8RUuuJ8zqKN5h"
    "T7tAUctYdv65W4jQnZMY60DJ35/Mi+IUDwyXmJBK6LuMqEwP9UKp4lJE/LaopwgwA3xAFO5FqdLQVumot+QDXXuy0X6HgUqUPRaA")


@pytest.mark.guest(kernels=("6.18", "7.2"), timeout_s=120)
def test_a_kernel_that_checks() -> None:
    signing.trust(CERTIFICATE)

    def load(program: bytes, signature: bytes, keyring: int = signing.SESSION_KEYRING) -> int:
        with programs.load_program(program, type=1, name="x", signature=signature, keyring=keyring) as loaded:
            return loaded.test_run(bytes(64)).result

    assert load(code.returns(3), SIGNATURE) == 3
    for program, signature, keyring, words in (
            (code.returns(4), SIGNATURE, signing.SESSION_KEYRING, "not made of these instructions"),
            (code.returns(3), STRANGERS, signing.SESSION_KEYRING, "no certificate in that keyring"),
            (code.returns(3), SIGNATURE, signing.BUILTIN_KEYS, "no certificate in that keyring"),
            (code.returns(3), SIGNATURE, 12345678, "no such keyring"),
            (code.returns(3), b"0" + bytes(40), signing.SESSION_KEYRING, "signature is refused")):
        with pytest.raises(KernelError, match=words):
            load(program, signature, keyring)
