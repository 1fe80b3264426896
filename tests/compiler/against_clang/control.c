static int classify(u32 v)
{
    switch (v) {
    case 0: return 10;
    case 1 ... 5: return 20;
    case 6: v += 3; /* fall through */
    case 7: v *= 2; break;
    case 100 ... 1000: return 40;
    default: return v & 1 ? 50 : 60;
    case 8: { int k = v; while (k > 3) k -= 2; return k; }
    }
    return v;
}
static int signs(s64 v) { switch (v) { case -1: return 1; case -100 ... -2: return 2; case 0x7fffffffffffffffLL: return 3; } return 4; }

TEST
{
    u64 *out = io->out;
    int n = 0;
    u64 x = io->in[0], y = io->in[1], sum = 0;
    OUT(classify(x)); OUT(classify(y & 15)); OUT(classify(y & 1023)); OUT(signs(x)); OUT(signs((s8)y));
    for (int i = 0; i < 10; i++) { if (i == (y & 7)) continue; if (i > (x & 15)) break; sum += i * x; }
    OUT(sum);
    int k = 0; while (k < 20) { k += 1 + (x & 1); if (k == 13) goto out; } OUT(k);
out:
    OUT(k);
    int j = 0; do { j++; if (j & y & 1) continue; sum ^= j; } while (j < 8); OUT(sum); OUT(j);
    for (int a = 0; a < 4; a++) for (int b = 0; b < 4; b++) { if (b == 2) break; sum = sum * 31 + a * b; } OUT(sum);
#pragma unroll
    for (int i = 0; i < 8; i++) sum += (x >> i) & 1;
    OUT(sum);
    int i = 0;
again:
    if (i < 5) { i++; sum += i; if (sum & 1) goto again; sum++; goto again; }
    OUT(sum);
    OUT(x ?: y); OUT(x && y++ ? 1 : 2); OUT(y); OUT((x++, y++, x + y)); OUT(x > y ? x : y);
    OUT(x == 3 || (x > 100 && !(y & 1)) || (y == 2 && x < 7));
    int v = ({ int t = x; if (t < 0) t = 0; t; }); OUT(v);
    u32 m = 0; for (;;) { if (++m > (y & 31)) break; } OUT(m);
    switch (x & 3) { int hidden; case 0: hidden = 4; OUT(hidden); break; case 1: hidden = 5; default: OUT(x & 3); }
    return n;
}
