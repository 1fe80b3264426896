// Kernel configuration, version and symbols as variables; weak ones that may be absent.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

extern int LINUX_KERNEL_VERSION __kconfig;
extern int CONFIG_HZ __kconfig __weak;
extern bool CONFIG_NET __kconfig __weak;
extern enum libbpf_tristate CONFIG_NO_SUCH_OPTION __kconfig __weak;
extern const void schedule __ksym;
extern const void no_such_symbol_anywhere __ksym __weak;

__u64 found;
int hz, version;

SEC("raw_tp/sys_enter")
int externs(void *ctx)
{
    found = (__u64)&schedule;
    if (&no_such_symbol_anywhere)
        found ^= 1;
    if (CONFIG_NET && CONFIG_NO_SUCH_OPTION != TRI_YES)
        hz = CONFIG_HZ;
    version = LINUX_KERNEL_VERSION;
    return version > KERNEL_VERSION(5, 9, 0);
}

char LICENSE[] SEC("license") = "GPL";
