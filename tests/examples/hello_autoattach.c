/* examples/functions/hello_autoattach.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

SEC("ksyscall/clone") int clone(void *ctx)
{
    bpf_printk("Hello, DockerCon!");
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
