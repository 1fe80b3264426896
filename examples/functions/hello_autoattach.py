"""Says hello for each clone system call: the decorator without a target takes it from the function's name."""

import ebpf


@ebpf.ksyscall
def clone(ctx):
    ebpf.printk("Hello, DockerCon!")


PROGRAMS = (clone,)


def main() -> None:
    with ebpf.attach(*PROGRAMS) as session:
        for line in session.trace_pipe():
            print(line.decode(errors="replace"), end="")


if __name__ == "__main__":
    main()
