// Programs for events of every kind that the machine can fire.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct event { __u32 pid, uid; char comm[16]; __u64 value; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } perf SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 64); __uint(key_size, 4); __uint(value_size, 64); } stacks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } by_cpu SEC(".maps");
struct timed { struct bpf_timer timer; __u64 fired; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, struct timed); } timers SEC(".maps");

int limit = 3;
const volatile int step = 2;
extern int LINUX_KERNEL_VERSION __kconfig;
extern int CONFIG_NOT_THERE __kconfig __attribute__((weak));

SEC("kprobe/anything") int send(void *ctx)
{
    struct event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
    if (!event)
        return 1;
    event->pid = bpf_get_current_pid_tgid() >> 32;
    event->uid = bpf_get_current_uid_gid();
    bpf_get_current_comm(event->comm, sizeof(event->comm));
    event->value = *(unsigned long *)ctx;
    bpf_ringbuf_submit(event, 0);
    return 0;
}

SEC("kprobe/anything") int send_perf(void *ctx)
{
    __u64 data[2] = { bpf_ktime_get_ns(), bpf_get_smp_processor_id() };
    return bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, data, sizeof(data));
}

SEC("kprobe/anything") int print(void *ctx)
{
    char word[] = "machine";
    bpf_printk("hello %s %d", word, limit);
    limit += step;
    return 0;
}

SEC("kprobe/anything") int stack(void *ctx)
{
    return bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
}

SEC("kprobe/anything") int per_cpu(void *ctx)
{
    __u32 key = 0;
    __u64 *value = bpf_map_lookup_elem(&by_cpu, &key);
    if (value)
        *value += 1;
    return 0;
}

SEC("raw_tp/anything") int path(unsigned long *ctx)
{
    char text[16];
    long length = bpf_probe_read_user_str(text, sizeof(text), (void *)ctx[1]);
    if (length > 0)
        bpf_printk("%s", text);
    return length;
}

static int expired(void *map, __u32 *key, struct timed *value)
{
    value->fired += *key;
    if (value->fired < 30)
        bpf_timer_start(&value->timer, 1000, 0);
    return 0;
}

SEC("tc") int start(struct __sk_buff *skb)
{
    __u32 key = 10;
    struct timed fresh = {}, *value;
    bpf_map_update_elem(&timers, &key, &fresh, BPF_ANY);
    value = bpf_map_lookup_elem(&timers, &key);
    if (!value)
        return 1;
    if (bpf_timer_init(&value->timer, &timers, 1) || bpf_timer_set_callback(&value->timer, expired))
        return 2;
    return bpf_timer_start(&value->timer, 500, 0);
}

SEC("xdp") int away(struct xdp_md *ctx)
{
    return bpf_redirect(7, 0);
}

SEC("xdp") int config(struct xdp_md *ctx)
{
    return LINUX_KERNEL_VERSION + CONFIG_NOT_THERE;
}

SEC("xdp") int unchecked(struct xdp_md *ctx)
{
    char *data = (void *)(long)ctx->data;
    return data[100];
}

SEC("xdp") int needs_a_kernel(struct xdp_md *ctx)
{
    char params[64] = {};
    return bpf_fib_lookup(ctx, (void *)params, 64, 0);
}

char LICENSE[] SEC("license") = "GPL";
