"""Facts about the kernel's eBPF interface, one row each: pure tables that import nothing."""
