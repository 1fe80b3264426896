"""User programs and shared libraries: where they are, what functions and static probes they have."""
