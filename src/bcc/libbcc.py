"""BCC's binding to its C library, which this package does without: importing it says what to use instead."""

from __future__ import annotations

raise ImportError(
    "bcc.libbcc is BCC's binding to its C library, and this bcc (of the package ebpf) has none beneath it: use the "
    "methods of BPF and of its tables; `BPF.session` has the typed maps, programs and links underneath",
    name="bcc.libbcc")
