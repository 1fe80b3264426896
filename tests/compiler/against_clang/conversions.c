struct all { s8 a; u8 b; s16 c; u16 d; s32 e; u32 f; s64 g; u64 h; bool i; };
enum colour { RED, GREEN = 5, BLUE = -3 };
static u64 widen(s8 a, u8 b, s16 c, u16 d) { return (u64)a * 3 + b * 5 + c * 7 + d * 11; }
static __attribute__((noinline)) s16 narrow(s32 v) { return v; }
static __attribute__((noinline)) u8 narrow_u(u64 v) { return v; }
static __attribute__((noinline)) bool truth(u64 v) { return v; }

TEST
{
    u64 *out = io->out;
    int n = 0;
    u64 x = io->in[0];
    struct all v = { x, x, x, x, x, x, x, x, x };
    OUT(v.a); OUT(v.b); OUT(v.c); OUT(v.d); OUT(v.e); OUT(v.f); OUT(v.g); OUT(v.h); OUT(v.i);
    OUT((u32)v.a); OUT((u64)(u32)v.e); OUT((s64)(s32)x); OUT((u16)(s8)x); OUT((s32)(u16)x); OUT((u64)(s32)(u32)x);
    OUT(v.a + v.b); OUT(v.a < v.f); OUT(v.e < v.f); OUT(v.g < v.h); OUT(v.a == v.h); OUT(v.e + v.h); OUT(v.e + v.g);
    OUT(-1 < v.f); OUT(-1 < (s64)v.f); OUT((bool)x); OUT(!!x + 1); OUT((bool)(x & 256)); OUT((bool)(u8)x);
    enum colour c = x & 1 ? GREEN : BLUE;
    OUT(c); OUT(c == GREEN); OUT((s8)c);
    OUT(widen(x, x, x, x)); OUT(narrow(x)); OUT(narrow_u(x)); OUT(truth(x)); OUT(truth(x & 0xff00));
    OUT(x ? (s8)x : (u32)x); OUT(sizeof(v)); OUT(sizeof(x + (u8)1)); OUT('a' + (char)200);
    u64 *p = &io->in[2];
    OUT((u64)((char *)(p + 1) - (char *)p)); OUT(p + 3 - p); OUT(p < p + 1); OUT(p == &io->in[2]); OUT(!p);
    bool t = x; t++; OUT(t); t = 0; t += x; OUT(t); t = x & 6; t ^= 1; OUT(t);
    u8 byte = x; OUT(byte++); OUT(++byte); OUT(byte--); OUT(--byte); byte += 300; OUT(byte); byte *= byte; OUT(byte);
    s8 sbyte = x; sbyte -= 200; OUT(sbyte); sbyte /= 3; OUT(sbyte); OUT((u8)~sbyte);
    s32 i = x; i /= 7; OUT(i); i = x; i %= 7; OUT(i); i = x; i /= 8; OUT(i); i = x; i %= 8; OUT(i); i = x; i /= -5; OUT(i);
    return n;
}
