/* Loops around compiled programs: the same block again and again; one packet after the other. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

typedef u64 (*program)(u64 *shared, void *context, u64 length, u64 r3, u64 r4, u64 r5);

/* `shared[0]`: a helper raised. */
u64 ebpf_repeat(u64 *shared, program run, void *block, u64 length, u64 times)
{
	u64 result = 0;

	for (u64 n = 0; n < times && !shared[0]; n++)
		result = run(shared, block, length, 0, 0, 0);
	return result;
}

#define NOWHERE 0xffffffffu

struct job {
	u64 *shared;
	program run;
	const u8 *packets;
	const u64 *offsets;
	const u32 *lengths;
	u32 *results;
	u64 count;
	u8 *context;
	const u8 *template;	/* what every context begins as: whole words */
	u64 context_words;
	u8 *frame;		/* below 4 GiB: where each packet is put */
	u8 *kept;		/* 0, or where they are put afterwards, as they lie in `packets` */
	u32 skip;		/* bytes before what the program sees: an Ethernet header */
	u32 data, data_end, data_meta;	/* offsets of the context's fields; NOWHERE: it has none */
	u32 len, protocol, pkt_type;
	u32 kind;		/* pkt_type that was asked for; NOWHERE: by the destination */
};

static void put(u8 *context, u32 offset, u32 value)
{
	if (offset != NOWHERE)
		*(u32 *)(context + offset) = value;
}

/* As eth_type_trans does it for the device `lo`, whose address is zero. */
static void describe(const struct job *job, const u8 *packet)
{
	u32 protocol = packet[12] | (u32)packet[13] << 8;
	u32 kind = job->kind;

	if (((u32)packet[12] << 8 | packet[13]) < 1536)
		protocol = 4 << 8;
	if (kind == NOWHERE) {
		u32 all = 0xff, any = 0;

		for (int n = 0; n < 6; n++) {
			all &= packet[n];
			any |= packet[n];
		}
		kind = all == 0xff ? 1 : packet[0] & 1 ? 2 : any ? 3 : 0;
	}
	put(job->context, job->protocol, protocol);
	put(job->context, job->pkt_type, kind);
}

static void copy(u8 *to, const u8 *from, u64 size)
{
	u64 n = 0;

	for (; n + 8 <= size; n += 8)
		*(u64 *)(to + n) = *(const u64 *)(from + n);
	for (; n < size; n++)
		to[n] = from[n];
}

/* How many packets were run: fewer than there are if a helper raised. */
u64 ebpf_run_packets(struct job *job)
{
	for (u64 n = 0; n < job->count; n++) {
		const u8 *packet = job->packets + job->offsets[n];
		u32 length = job->lengths[n];
		u32 start = (u32)(u64)job->frame + job->skip;
		u32 end = (u32)(u64)job->frame + length;

		copy(job->frame, packet, length);
		copy(job->context, job->template, job->context_words * 8);
		put(job->context, job->data, start);
		put(job->context, job->data_end, end);
		put(job->context, job->data_meta, start);
		put(job->context, job->len, end - start);
		describe(job, packet);
		job->results[n] = (u32)job->run(job->shared, job->context, 0, 0, 0, 0);
		if (job->shared[0])
			return n;
		if (job->kept)
			copy(job->kept + job->offsets[n], job->frame, length);
	}
	return job->count;
}
