"""C programs, each with the code it is refused with ("": safe)."""

from __future__ import annotations

TEXT = r"""
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define noinline __attribute__((noinline))
struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
static void *(*lookup)(void *map, const void *key) = (void *)1;
static long (*update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*tail_call)(void *ctx, void *map, u32 index) = (void *)12;
static u64 (*prandom)(void) = (void *)7;
static long (*loop)(u32 n, void *callback, void *ctx, u64 flags) = (void *)181;
static long (*for_each)(void *map, void *callback, void *ctx, u64 flags) = (void *)164;
static void *(*reserve)(void *map, u64 size, u64 flags) = (void *)131;
static void (*submit)(void *record, u64 flags) = (void *)132;
static long (*lock)(void *) = (void *)93; static long (*unlock)(void *) = (void *)94;
struct bpf_spin_lock { u32 val; };
struct locked { struct bpf_spin_lock lock; u32 count; };
struct { __uint(type, 1); __type(key, u32); __type(value, u64); __uint(max_entries, 100); } counts SEC(".maps");
struct { __uint(type, 2); __type(key, u32); __type(value, struct locked); __uint(max_entries, 1); } locks SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, 4096); } events SEC(".maps");
struct { __uint(type, 3); __type(key, u32); __type(value, u32); __uint(max_entries, 4); } jumps SEC(".maps");
const volatile u32 limit = 8; u32 table[16]; u64 total;

SEC("xdp") int headers(struct xdp_md *ctx) {
  u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
  if (data + 34 > end) return 1;
  if (data[12] != 8 || data[13]) return 2;
  u32 len = (data[14] & 15) * 4;
  if (len < 20) return 2;
  u8 *l4 = data + 14 + len;
  if (l4 + 4 > end) return 2;
  return l4[3] == 80 ? 1 : 2; }
SEC("xdp") int headers_short(struct xdp_md *ctx) {
  u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
  if (data + 13 > end) return 1;
  return data[13] == 8; }
SEC("xdp") int counting(struct xdp_md *ctx) {
  u32 key = ctx->ingress_ifindex; u64 one = 1, *value = lookup(&counts, &key);
  if (value) __sync_fetch_and_add(value, 1); else update(&counts, &key, &one, 0);
  return 2; }
SEC("xdp") int unchecked(struct xdp_md *ctx) {
  u32 key = 1; u64 *value = lookup(&counts, &key);
  *value += 1;
  return 2; }
SEC("xdp") int rounds(struct xdp_md *ctx) {
  u64 sum = 0;
  for (u32 i = 0; i < 50; i++) { sum += table[i & 15] * i; asm volatile("" : "+r"(sum)); }
  total = sum; return 2; }
SEC("xdp") int indexed(struct xdp_md *ctx) {
  u32 i = prandom(); if (i >= 16) return 1;
  table[i]++; return 2; }
SEC("xdp") int badly_indexed(struct xdp_md *ctx) {
  u32 i = prandom(); if (i > 40) return 1;
  asm volatile("" : "+r"(i)); table[i]++;
  return 2; }
static noinline u64 leaf(u64 x, u32 *out) { *out = x; return x * 3; }
static noinline u64 middle(u64 x) { u32 a = 0; u64 r = leaf(x, &a); return r + a; }
SEC("xdp") int functions(struct xdp_md *ctx) { return middle(ctx->rx_queue_index) + middle(3) > 10 ? 1 : 2; }
static long each(void *map, u32 *key, u64 *value, u64 *sum) { *sum += *value; return 0; }
static long add(u32 i, u64 *sum) { *sum += i; return i > 50; }
SEC("xdp") int callbacks(struct xdp_md *ctx) {
  u64 sum = 0; for_each(&counts, each, &sum, 0); loop(100, add, &sum, 0); total = sum; return 2; }
SEC("xdp") int records(struct xdp_md *ctx) {
  u64 *r = reserve(&events, 16, 0); if (!r) return 1;
  r[0] = 1; r[1] = ctx->ingress_ifindex; submit(r, 0); return 2; }
SEC("xdp") int leak(struct xdp_md *ctx) {
  u64 *r = reserve(&events, 16, 0); if (!r) return 1;
  r[0] = 1;
  if (ctx->ingress_ifindex == 3) return 2;
  submit(r, 0); return 2; }
SEC("xdp") int beyond_record(struct xdp_md *ctx) {
  u64 *r = reserve(&events, 16, 0); if (!r) return 1;
  r[2] = 1; submit(r, 0); return 2; }
SEC("xdp") int locking(struct xdp_md *ctx) {
  u32 key = 0; struct locked *v = lookup(&locks, &key); if (!v) return 1;
  lock(&v->lock); v->count++; unlock(&v->lock); return 2; }
SEC("xdp") int locked_forever(struct xdp_md *ctx) {
  u32 key = 0; struct locked *v = lookup(&locks, &key); if (!v) return 1;
  lock(&v->lock); v->count++; return 2; }
SEC("xdp") int tail(struct xdp_md *ctx) { tail_call(ctx, &jumps, 2); return 2; }
SEC("xdp") int config(struct xdp_md *ctx) { u32 i = limit; return table[i] ? 1 : 2; }
SEC("xdp") int field(struct xdp_md *ctx) { ctx->ingress_ifindex = 3; return 2; }
SEC("cgroup/skb") int allow(void *ctx) { return 1; }
SEC("cgroup/skb") int allow_wrong(void *ctx) { return prandom() & 7; }
SEC("license") char LICENSE[] = "GPL";
"""

EXPECTED = {
    "headers": "",
    "headers_short": "V0203",
    "counting": "",
    "unchecked": "V0201",
    "rounds": "",
    "indexed": "",
    "badly_indexed": "V0202",
    "functions": "",
    "callbacks": "",
    "records": "",
    "leak": "V0301",
    "beyond_record": "V0215",
    "locking": "",
    "locked_forever": "V0302",
    "tail": "",
    "config": "",
    "field": "V0207",
    "allow": "",
    "allow_wrong": "V0501",
}
# What this kernel accepts though we refuse it, and why that is right.
KERNEL_ACCEPTS: dict[str, str] = {}
