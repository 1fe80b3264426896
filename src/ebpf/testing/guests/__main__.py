"""``python -m ebpf.testing.guests``: fetch kernels, take snapshots, run a command in a guest."""

from __future__ import annotations

import argparse
import os
import sys

from ebpf.testing.guests import store
from ebpf.testing.guests.guest import Guest, GuestError

_ABOUT = """Run a command as root in a throw-away virtual machine under a stock Debian kernel.

This machine's files are there read-only at the same paths, below a layer in memory: all writes are lost, except
below --share DIR, which is the host's own directory. There is no network. Standard output, standard error and the
exit status are the command's; 124: not done in time, or the machine died (its kernel log is then on standard error).
"""


def main(argv: list[str], program: str = "python -m ebpf.testing.guests") -> int:
    """The exit status: the command's; 124 when it was not done in time, or the machine died."""
    parser = argparse.ArgumentParser(prog=program, description=_ABOUT,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--fetch", nargs="+", metavar="KERNEL",
                        help=f"get kernels: all, or {', '.join(store.KERNELS)}, ...")
    action.add_argument("--snapshot", action="store_true", help="only save a booted guest with these options")
    action.add_argument("--list", action="store_true", help="which kernels are here")
    parser.add_argument("--kernel", default=os.environ.get("EBPF_GUEST_KERNEL", store.SAMPLE))
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS")
    parser.add_argument("--share", "--rw", action="append", default=[], metavar="DIR", help="writable, the host's own")
    parser.add_argument("--stdin", "-i", action="store_true", help="hand our standard input on, once it is all there")
    parser.add_argument("--memory", "--mem", default="1G")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--append", default="", help="more kernel arguments")
    parser.add_argument("--accelerator", default="", help="kvm or tcg (default: kvm where the processor has it)")
    parser.add_argument("--cpu", default="", help="processor model")
    parser.add_argument("--cold", action="store_true", help="boot, even where a snapshot could be used")
    parser.add_argument("--log", action="store_true", help="show the kernel's log at the end")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD [ARG...]")
    args = parser.parse_args(argv)
    try:
        return _act(args, parser)
    except GuestError as error:
        print(f"guest: {error}", file=sys.stderr)
        return 124
    except KeyboardInterrupt:
        return 130


def _act(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if args.list:
        for name in store.KERNELS:
            found = store.kernel(name)
            print(f"{name:6} {found.release if found else 'not fetched'}")
        return 0
    if args.fetch:
        from ebpf.testing.guests.fetch import fetch

        for name in store.KERNELS if args.fetch == ["all"] else args.fetch:
            print(f"{name}: {fetch(name).release}")
        return 0
    guest = Guest(args.kernel, memory=args.memory, cpus=args.cpus, shares=args.share, append=args.append,
                  accelerator=args.accelerator, cpu=args.cpu, snapshot=args.snapshot)
    if args.snapshot:
        guest.snapshot()
        return 0
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        parser.error("no command")
    result = guest.run(
        command, stdin=sys.stdin.buffer.read() if args.stdin else b"", timeout_s=args.timeout, cold=args.cold,
        on_stdout=lambda data: _write(1, data), on_stderr=lambda data: _write(2, data))
    if args.log:
        sys.stderr.write(result.console)
    return result.returncode


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data):]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        os._exit(141)
