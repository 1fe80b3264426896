TEST
{
    u64 *out = io->out;
    int n = 0;
    u64 x = io->in[0];
    u32 c = io->in[1] & 31, d = io->in[2] & 63;
    u32 w = x;
    s32 s = x;
    s64 l = x;
    OUT(w << c); OUT(w >> c); OUT(s >> c); OUT((u32)(s << c)); OUT(x << d); OUT(x >> d); OUT(l >> d);
    OUT((u8)x >> 3); OUT((s8)x >> 3); OUT((u16)x << 3); OUT((s16)x >> (c & 15));
    OUT((u64)1 << d); OUT(1u << c); OUT(x << 0); OUT(x >> 63); OUT(l >> 63); OUT(s >> 31);
    w <<= c; OUT(w); w = x; w >>= c; OUT(w); s >>= c; OUT(s); x <<= d; OUT(x); l >>= d; OUT(l);
    u8 b = io->in[0]; b <<= 3; OUT(b); b = io->in[0]; b >>= 2; OUT(b);
    s8 sb = io->in[0]; sb >>= 2; OUT(sb); sb <<= 1; OUT(sb);
    return n;
}
