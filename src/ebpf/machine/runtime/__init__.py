"""Maps in native memory: a small C runtime that our own compiler builds for the host, and Python's door to it.

`map.h` says what every map has and what there is to call; `runtime.c` is all of it, `lookup.c` what goes into the
code of programs. `build.runtime()` gives the code of this process; `memory.Block` a map's memory.
"""
