/* Requests to disks, as every kernel since 5.10 has them. */
#ifndef EBPF_TOOLS_BLOCK_H
#define EBPF_TOOLS_BLOCK_H

struct request___5_16 {
    struct gendisk *rq_disk;            /* until 5.16 */
} __attribute__((preserve_access_index));

struct request_queue___5_17 {
    struct gendisk *disk;
} __attribute__((preserve_access_index));

/* The request among a tracepoint's arguments: the first, or the one behind its queue (before 5.11). A request that
 * names the first argument as its queue settles it. */
static __always_inline struct request *request_of(__u64 *arguments)
{
    struct request *second = (struct request *)arguments[1];
    struct request_queue *queue = NULL;

    if (!bpf_core_read(&queue, sizeof(queue), &second->q) && queue && (__u64)queue == arguments[0])
        return second;
    return (struct request *)arguments[0];
}

static __always_inline struct gendisk *disk_of(struct request *request)
{
    struct request___5_16 *old = (void *)request;
    struct request_queue___5_17 *queue;

    if (bpf_core_field_exists(old->rq_disk))
        return BPF_CORE_READ(old, rq_disk);
    queue = (void *)BPF_CORE_READ(request, q);
    return BPF_CORE_READ(queue, disk);
}

static __always_inline __u32 device_of(struct request *request)
{
    struct gendisk *disk = disk_of(request);

    return disk ? BPF_CORE_READ(disk, major) << 20 | BPF_CORE_READ(disk, first_minor) : 0;
}

#endif
