// Indices of every width, negative ones too: as addresses, which the verifier need not bound; then bounded reads.
static u32 words[16] = { 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25 };
TEST
{
    u64 *out = io->out;
    int n = 0;
    u64 x = HIDE(io->in[0]);
    u32 *p = (u32 *)HIDE(0x10000);
    struct { u16 a; char b[6]; } *q = (void *)HIDE(0x20000);
    s8 a = x; s16 b = x; s32 c = x; s64 d = x; u8 e = x; u16 f = x; u32 g = x;
    OUT(&p[a]); OUT(&p[b]); OUT(&p[c]); OUT(&p[d]); OUT(&p[e]); OUT(&p[f]); OUT(&p[g]); OUT(&p[x]); OUT(&p[a + b]); OUT(&p[e - f]);
    OUT(p + a); OUT(p - b); OUT(p + c); OUT(p - g); OUT(&q[a].b[b]); OUT(&q[e].b[a]); OUT(&q[(s8)g].b[(u8)d]); OUT(&q[c] - q);
    p += a; OUT(p); p -= e; OUT(p); OUT(p++); OUT(--p); OUT(&p[(s8)(u8)x]); OUT(&p[(u32)(s8)x]); OUT(&p[(u16)(s8)x]);
    OUT(words[e & 15]); OUT(words[(x >> 8) & 15]);
    u32 i = x & 15; OUT(words[i]);
    for (s8 j = 7; j >= 0; j--) OUT(words[j]);
    for (u8 j = 0; j < 8; j += 3) OUT(words[j]);
    return n;
}
