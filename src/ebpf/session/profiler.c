/* Reads perf counters where a program begins and where it ends, and adds up the differences, each CPU for itself. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define MOST 8

struct readings {
    struct bpf_perf_event_value values[MOST];
    u64 taken;
};

/* Counter i of CPU c is at i * cpus + c. */
struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, 4);
    __uint(value_size, 4);
} counters SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, struct readings);
} begun SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, struct readings);
} totals SEC(".maps");

const volatile u32 metrics = 1, cpus = 1;

SEC("fentry/target") int BPF_PROG(enter)
{
    u32 zero = 0, cpu = bpf_get_smp_processor_id();
    struct readings *now = bpf_map_lookup_elem(&begun, &zero);

    if (!now)
        return 0;
    now->taken = 0;
    for (u32 i = 0; i < MOST; i++) {
        if (i >= metrics)
            break;
        if (bpf_perf_event_read_value(&counters, i * cpus + cpu, &now->values[i], sizeof(now->values[i])))
            return 0;
    }
    now->taken = 1;
    return 0;
}

SEC("fexit/target") int BPF_PROG(leave)
{
    u32 zero = 0, cpu = bpf_get_smp_processor_id();
    struct readings *then = bpf_map_lookup_elem(&begun, &zero), *sum = bpf_map_lookup_elem(&totals, &zero);
    struct bpf_perf_event_value value;

    if (!then || !sum || !then->taken)
        return 0;
    for (u32 i = 0; i < MOST; i++) {
        if (i >= metrics)
            break;
        if (bpf_perf_event_read_value(&counters, i * cpus + cpu, &value, sizeof(value)))
            return 0;
        sum->values[i].counter += value.counter - then->values[i].counter;
        sum->values[i].enabled += value.enabled - then->values[i].enabled;
        sum->values[i].running += value.running - then->values[i].running;
    }
    then->taken = 0;
    sum->taken++;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
