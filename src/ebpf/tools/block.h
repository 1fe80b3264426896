/* Requests to disks, as every kernel since 5.10 has them. */
#ifndef EBPF_TOOLS_BLOCK_H
#define EBPF_TOOLS_BLOCK_H

struct request___5_16 {
    struct gendisk *rq_disk;            /* until 5.16 */
} __attribute__((preserve_access_index));

struct request_queue___5_17 {
    struct gendisk *disk;
} __attribute__((preserve_access_index));

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
