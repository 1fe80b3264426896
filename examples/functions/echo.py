"""A TCP echo server whose answers never leave the kernel: a sockmap sends each connection's data back to it."""

import socket
import sys

import ebpf
from ebpf import u64

sockets = ebpf.SockMap(64)
echoed = ebpf.Global(u64)


@ebpf.sk_skb("stream_parser")
def parser(ctx):
    return ctx.len


@ebpf.sk_skb("stream_verdict")
def verdict(ctx):
    echoed.value += ctx.len
    return sockets.redirect(0)


PROGRAMS = (parser, verdict)


def serve(listener: socket.socket) -> None:
    """Echo one connection until it ends."""
    connection, _ = listener.accept()
    with connection:
        sockets[0] = connection.fileno()
        while connection.recv(1 << 16):
            pass


def main() -> None:
    with socket.create_server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0)) as listener:
        print(f"listening on port {listener.getsockname()[1]}", flush=True)
        with ebpf.attach(parser.on(map=sockets), verdict.on(map=sockets)):
            while True:
                serve(listener)


if __name__ == "__main__":
    main()
