"""Typedefs that programs use without including anything: name → C type."""

from __future__ import annotations

TYPEDEFS: dict[str, str] = {
    "u8": "unsigned char", "s8": "signed char", "u16": "unsigned short", "s16": "short",
    "u32": "unsigned int", "s32": "int", "u64": "unsigned long long", "s64": "long long",
    "__u8": "unsigned char", "__s8": "signed char", "__u16": "unsigned short", "__s16": "short",
    "__u32": "unsigned int", "__s32": "int", "__u64": "unsigned long long", "__s64": "long long",
    "u_char": "unsigned char", "u_short": "unsigned short", "u_int": "unsigned int", "u_long": "unsigned long",
    "uint8_t": "unsigned char", "int8_t": "signed char", "uint16_t": "unsigned short", "int16_t": "short",
    "uint32_t": "unsigned int", "int32_t": "int", "uint64_t": "unsigned long long", "int64_t": "long long",
    "u_int8_t": "unsigned char", "u_int16_t": "unsigned short", "u_int32_t": "unsigned int",
    "u_int64_t": "unsigned long long", "unchar": "unsigned char", "ushort": "unsigned short", "uint": "unsigned int",
    "ulong": "unsigned long", "ullong": "unsigned long long",
    "__be16": "unsigned short", "__be32": "unsigned int", "__be64": "unsigned long long",
    "__le16": "unsigned short", "__le32": "unsigned int", "__le64": "unsigned long long",
    "__sum16": "unsigned short", "__wsum": "unsigned int", "__poll_t": "unsigned int", "__aligned_u64":
    "unsigned long long", "__u128": "unsigned __int128", "__s128": "__int128",
    "size_t": "unsigned long", "ssize_t": "long", "ptrdiff_t": "long", "intptr_t": "long", "uintptr_t": "unsigned long",
    "bool": "_Bool", "wchar_t": "int",
    "pid_t": "int", "uid_t": "unsigned int", "gid_t": "unsigned int", "tid_t": "int", "qid_t": "unsigned int",
    "__kernel_pid_t": "int", "__kernel_size_t": "unsigned long", "__kernel_ssize_t": "long",
    "__kernel_loff_t": "long long", "__kernel_off_t": "long", "__kernel_time64_t": "long long",
    "off_t": "long", "loff_t": "long long", "umode_t": "unsigned short", "mode_t": "unsigned int",
    "dev_t": "unsigned int", "ino_t": "unsigned long", "nlink_t": "unsigned int", "key_t": "int", "clockid_t": "int",
    "time_t": "long", "time64_t": "long long", "ktime_t": "long long", "clock_t": "long", "suseconds_t": "long",
    "sector_t": "unsigned long long", "blkcnt_t": "unsigned long long", "gfp_t": "unsigned int",
    "fmode_t": "unsigned int", "blk_status_t": "unsigned char", "blk_opf_t": "unsigned int",
    "phys_addr_t": "unsigned long long", "resource_size_t": "unsigned long long", "dma_addr_t": "unsigned long long",
    "pgoff_t": "unsigned long", "vm_fault_t": "unsigned int", "sa_family_t": "unsigned short",
    "__kernel_sa_family_t": "unsigned short", "socklen_t": "unsigned int", "in_addr_t": "unsigned int",
    "in_port_t": "unsigned short", "netdev_features_t": "unsigned long long", "cpumask_var_t": "struct cpumask *",
    "bpf_user_pt_regs_t": "struct pt_regs", "irqreturn_t": "int", "acpi_size": "unsigned long",
}
