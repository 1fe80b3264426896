struct bits { u32 a : 3, b : 5, c : 24; s32 d : 7; u64 e : 40; s64 f : 13; u8 g : 1; u8 : 3; u8 h : 4; bool i : 1; };
struct packed { u8 lead; u32 a : 11; u64 b : 33; s16 c : 9; } __attribute__((packed));
union both { struct { u32 low : 20, high : 12; }; u32 all; };

TEST
{
    u64 *out = io->out;
    int n = 0;
    u64 x = io->in[0], y = io->in[1];
    struct bits v = {};
    v.a = x; v.b = x >> 3; v.c = x; v.d = x; v.e = x; v.f = y; v.g = x; v.h = y; v.i = x & 4;
    OUT(v.a); OUT(v.b); OUT(v.c); OUT(v.d); OUT(v.e); OUT(v.f); OUT(v.g); OUT(v.h); OUT(v.i);
    v.a++; OUT(v.a); v.b += 7; OUT(v.b); v.d -= 100; OUT(v.d); v.e <<= 3; OUT(v.e); v.f ^= x; OUT(v.f); OUT(v.h--); OUT(v.h);
    OUT(v.a = 13); OUT(v.d = y); OUT((v.f = x) + 1);
    OUT(v.a - 8); OUT(v.c > -1); OUT(v.d < 0 ? 1 : 2); OUT(sizeof(v));
    struct bits w = { .b = 9, .e = y, .f = -3 };
    OUT(w.a); OUT(w.b); OUT(w.e); OUT(w.f); OUT(w.c);
    u64 *raw = (u64 *)&w;
    OUT(raw[0]); OUT(raw[1]);
    struct packed p = { 1, x, y, x };
    OUT(p.lead); OUT(p.a); OUT(p.b); OUT(p.c); OUT(sizeof(p));
    p.b = x; p.c = y; OUT(p.a); OUT(p.b); OUT(p.c);
    union both u = { .all = x };
    OUT(u.low); OUT(u.high); u.high = y; OUT(u.all);
    return n;
}
