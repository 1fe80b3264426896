// 128 bits. clang cannot multiply, divide or shift them by a variable: Python is the witness (test_wide_integers).
typedef unsigned __int128 u128;
typedef __int128 s128;
#define PUT(v) ({ u128 put = (v); OUT((u64)put); OUT((u64)(put >> 64)); })

TEST
{
    u64 *out = io->out;
    int n = 0;
    u64 a = io->in[0], b = io->in[1], c = io->in[2], d = io->in[3];
    u128 x = (u128)a << 64 | b, y = (u128)c << 64 | d;
    PUT(x + y); PUT(x - y); PUT(x & y); PUT(x | y); PUT(x ^ y); PUT(~x); PUT(-x); PUT(x << 7); PUT(x >> 70); PUT((s128)x >> 5);
    OUT(x < y); OUT((s128)x < (s128)y); OUT(x == y); OUT(!x); OUT((bool)y); PUT((s128)(s64)a); PUT((u128)(s32)b); PUT(x / 16); PUT(x % 4096);
    PUT(x * y); PUT((u128)a * c); PUT((s128)(s64)a * (s64)d); PUT(x << (a & 127)); PUT(x >> (b & 127)); PUT((s128)x >> (c & 127));
    OUT((u64)(((u128)a * b) >> 64));
    y |= 1;
    PUT(x / y); PUT(x % y); PUT((s128)x / (s128)y); PUT((s128)x % (s128)y); PUT(x / 10); PUT(x % 1000003);
    return n;
}
