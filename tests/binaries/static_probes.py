"""A small program with static probes, for the tests: one round for each line that it reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = r"""
#include <stdio.h>
#define NOTE(name, semaphore, arguments) \
    __asm__ volatile("990: nop\n.pushsection .note.stapsdt,\"\",\"note\"\n.balign 4\n" \
        ".4byte 992f-991f, 994f-993f, 3\n991: .asciz \"stapsdt\"\n992: .balign 4\n993: .8byte 990b\n" \
        ".8byte _.stapsdt.base\n.8byte " semaphore "\n.asciz \"app\"\n.asciz \"" name "\"\n.asciz \"" arguments "\"\n" \
        "994: .balign 4\n.popsection\n" \
        ".ifndef _.stapsdt.base\n.pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
        ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n.size _.stapsdt.base,1\n" \
        ".popsection\n.endif\n" : : "a"(round) : "memory")
__attribute__((section(".probes"), used)) volatile unsigned short app_begin_semaphore;
int main(void)
{
    for (long round = 1; getchar() != EOF; round++) {
        NOTE("begin", "app_begin_semaphore", "-4@$7");
        NOTE("end", "0", "8@%%rax 8@8(%%rsp)");
        NOTE("end", "0", "8@%%rax");
        printf("semaphore %d\n", app_begin_semaphore); /* the round's probes are behind us */
        fflush(stdout);
    }
    return 0;
}
"""


def build(folder: Path) -> str:
    """The program's path. ``app:begin`` has a semaphore; ``app:end``, in two places, the number of the round."""
    (folder / "app.c").write_text(SOURCE)
    subprocess.run(["gcc", "-O1", "-Wl,--build-id", str(folder / "app.c"), "-o", str(folder / "app")], check=True)
    return str(folder / "app")
