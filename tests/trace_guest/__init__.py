"""Scripts in guests: Debian's bpftrace is the witness, on the same work, watched at the same time."""
