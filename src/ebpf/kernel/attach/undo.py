"""How to take off what the kernel would keep: one function for each way, run here or by the janitor.

Arguments are numbers and text, so that they can be told to another process. Each takes off exactly what we put
there; what is gone already, or is somebody else's, is left alone.
"""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING, Final

from ebpf.kernel import sys

if TYPE_CHECKING:
    from collections.abc import Callable


def program(target: int, attach_type: int, program: int) -> int:
    """BPF_PROG_DETACH of that very program."""
    result, _ = sys.attempt("PROG_DETACH", target_fd=target, attach_type=attach_type, attach_bpf_fd=program)
    return result


def struct_ops(map: int) -> int:
    """The kernel forgets the table of a struct_ops map; what uses it now may go on until it ends."""
    key = bytes(4)
    result, _ = sys.attempt("MAP_DELETE_ELEM", map_fd=map, key=sys.address_of(key))
    return result


WAYS: Final[dict[str, Callable[..., int]]] = {"program": program, "struct_ops": struct_ops}
HARMLESS: Final = frozenset({0, _errno.ENOENT, _errno.ENODEV, _errno.ENXIO})
