"""The kernel's own test vectors: the same verdict, and every one that we accept and Linux 6.1 refuses is listed with its reason."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from ebpf.btf import Btf
from ebpf.errors import InsnError
from ebpf.verifier.refuse import Refuse

from .run import verify_vector
from .vectors import Vector, directory, iter_vectors

_LIST = Path(__file__).with_name("accepted_beyond_6_1.txt")
_BTF = Path("/sys/kernel/btf/vmlinux")
CLASSES = {"privilege", "version", "complexity", "precision", "style", "environment"}

NO_VECTORS = pytest.mark.skipif(
    directory() is None,
    reason="no vectors: apt install linux-source-6.1, or set EBPF_VERIFIER_VECTORS to tools/testing/selftests/bpf/verifier "
    "of a 6.1 tree",
)
pytestmark = NO_VECTORS


def listed() -> dict[str, str]:
    """``file: name`` → class, of `accepted_beyond_6_1.txt`."""
    rows = [line.split("\t") for line in _LIST.read_text().splitlines() if line and not line.startswith("#")]
    return {row[1]: row[0] for row in rows}


@cache
def verdicts() -> list[tuple[Vector, bool]]:
    where = directory()
    assert where is not None
    kernel = Btf.parse(_BTF.read_bytes()) if _BTF.exists() else None
    out = []
    for vector in iter_vectors(where):
        try:
            verify_vector(vector, kernel)
            out.append((vector, True))
        except (Refuse, InsnError):
            out.append((vector, False))
    return out


def test_the_reader_finds_all_of_them() -> None:
    assert len(verdicts()) > 1280
    assert sum(v.accepted for v, _ in verdicts()) > 500


def test_same_verdict_in_95_of_100() -> None:
    same = sum(v.accepted == accepted for v, accepted in verdicts())
    assert same / len(verdicts()) >= 0.95, f"{same} of {len(verdicts())}"


def test_what_we_accept_and_6_1_refuses_is_listed() -> None:
    beyond = {v.id for v, accepted in verdicts() if accepted and not v.accepted}
    assert beyond == set(listed()), (
        "unlisted: "
        + ", ".join(sorted(beyond - set(listed())))
        + "; listed in vain: "
        + ", ".join(sorted(set(listed()) - beyond))
    )
    assert set(listed().values()) <= CLASSES
