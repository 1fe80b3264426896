"""A line for each command that is executed, with its arguments."""

from typing import Annotated

import ebpf
from ebpf import chars, u32

WORDS = 16


class Command(ebpf.Struct):
    pid: u32
    count: u32
    words: Annotated[list[bytes], chars[64][WORDS]]


commands = ebpf.RingBuf(Command)


@ebpf.tracepoint("syscalls:sys_enter_execve")
def execve(ctx):
    argv = ebpf.address_of(ctx.args.argv)
    with commands.reserve() as command:
        command.pid = ebpf.pid()
        for i in range(WORDS):
            word = ebpf.read_user(ebpf.u64, argv + 8 * i)
            if word == 0:
                break
            command.words[i] = ebpf.read_user_str(word)
            command.count = i + 1


PROGRAMS = (execve,)


def main() -> None:
    with ebpf.attach(*PROGRAMS):
        for e in commands:
            print(*(word.decode(errors="replace") for word in e.words[: e.count]))


if __name__ == "__main__":
    main()
