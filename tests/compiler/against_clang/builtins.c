struct blob { u64 a, b, c; u8 tail[5]; };
TEST
{
    u64 *out = io->out;
    int n = 0;
    u64 x = io->in[0], y = io->in[1];
    OUT(__builtin_bswap16(x)); OUT(__builtin_bswap32(x)); OUT(__builtin_bswap64(x));
    OUT(__builtin_popcountll(x)); OUT(__builtin_popcount(x)); OUT(__builtin_ctzll(x | 1ull << 63)); OUT(__builtin_clzll(x | 1));
    OUT(__builtin_clz((u32)x | 1)); OUT(__builtin_ctz((u32)x | 1u << 31)); OUT(__builtin_ffsll(x)); OUT(__builtin_ffs(y));
    OUT(__builtin_expect(x > y, 1)); OUT(__builtin_constant_p(4)); if (__builtin_expect(!!(x & 1), 0)) OUT(77); else OUT(78);
    u64 r; s32 s; u32 w; s64 l; u8 narrow;
    OUT(__builtin_add_overflow(x, y, &r)); OUT(r); OUT(__builtin_sub_overflow(x, y, &r)); OUT(r);
    OUT(__builtin_add_overflow((s32)x, (s32)y, &s)); OUT(s); OUT(__builtin_mul_overflow((s32)x, (s32)y, &s)); OUT(s);
    OUT(__builtin_mul_overflow((u32)x, (u32)y, &w)); OUT(w); OUT(__builtin_add_overflow((s64)x, (s64)y, &l)); OUT(l);
    OUT(__builtin_sub_overflow((s64)x, (s64)y, &l)); OUT(l); OUT(__builtin_add_overflow((u8)x, (u8)y, &narrow)); OUT(narrow);
    struct blob p = { x, y, x ^ y, { 1, 2, 3 } }, q;
    __builtin_memcpy(&q, &p, sizeof(q)); OUT(q.c); OUT(q.tail[2]);
    __builtin_memset(&p, 0x5a, sizeof(p) - 1); OUT(p.a); OUT(p.tail[3]); OUT(p.tail[4]);
    __builtin_memset(&p, 0, sizeof(p)); OUT(p.b);
    char text[16] = "abcdefghijklmno"; __builtin_memmove(text + 2, text, 8); OUT(*(u64 *)text); OUT(*(u64 *)(text + 8));
    char left[12] = "abcdefghij", right[12] = "abcdefghij"; right[AT(x & 7) + 1] = 'x';
    OUT(__builtin_memcmp(left, right, 12) < 0); OUT(__builtin_memcmp(left, right, 12) > 0); OUT(__builtin_memcmp(left, right, 3) == 0);
    u64 cell = x; u32 small = y;
    __sync_fetch_and_add(&cell, y); OUT(cell); OUT(__sync_fetch_and_add(&cell, 5)); OUT(__sync_add_and_fetch(&cell, 5));
    OUT(__sync_fetch_and_or(&cell, y)); OUT(__sync_fetch_and_and(&cell, x)); OUT(__sync_fetch_and_xor(&cell, y)); OUT(cell);
    OUT(__sync_fetch_and_sub(&small, 3)); OUT(small); OUT(__sync_lock_test_and_set(&cell, 9)); OUT(__sync_val_compare_and_swap(&cell, 9, y));
    OUT(__sync_bool_compare_and_swap(&cell, y, x)); OUT(cell); OUT(__sync_sub_and_fetch(&small, x)); OUT(__sync_xor_and_fetch(&small, 3));
    asm volatile("" ::: "memory"); asm volatile("" : "+r"(x)); OUT(x);
    volatile u64 v = x; v += 2; OUT(v);
    return n;
}
