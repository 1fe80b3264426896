/* Storage of tasks, a user ring buffer, control groups: maps that belong to somebody outside of the program. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct { __uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, __u64); } calls SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_USER_RINGBUF); __uint(max_entries, 4096); } requests SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_CGROUP_ARRAY); __type(key, __u32); __type(value, __u32); __uint(max_entries, 2); } groups SEC(".maps");
char LICENSE[] SEC("license") = "GPL";

__u64 sum, drained;
long under, missing;

SEC("tp_btf/sys_enter")
int count(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 *n = bpf_task_storage_get(&calls, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (n)
		__sync_fetch_and_add(n, 1);
	under = bpf_current_task_under_cgroup(&groups, 0);
	missing = bpf_current_task_under_cgroup(&groups, 1);
	return 0;
}

static long take(struct bpf_dynptr *record, void *ctx)
{
	__u64 *value = bpf_dynptr_data(record, 0, sizeof(*value));

	if (value)
		sum += *value;
	return sum >= 100;
}

SEC("tp_btf/sys_exit")
int drain(void *ctx)
{
	drained = bpf_user_ringbuf_drain(&requests, take, 0, 0);
	return 0;
}
