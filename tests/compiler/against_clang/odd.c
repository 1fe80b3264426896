// Corners: flexible array members with elements, enums of every size, helpers as values, statement expressions that jump.
struct text { int n; char data[]; };
static struct text word = { 3, "abc" };
static const struct numbers { u16 n; int at[]; } numbers = { 2, { 5, -6 } };
enum negative { A = -5, B, C = 3 };
enum big { X = 1ULL << 40, Y, Z = -1ULL };
enum mixed { M = -1, N = 0x80000000 };
enum small : u8 { P = 254, Q };
static enum big held = Y;
union bits { struct { u32 a : 3, b : 5, : 0, c : 9; }; u32 raw; u64 wide : 40; };
#define KIND(x) _Generic((x), int: 1, unsigned long: 2, char *: 3, const char *: 4, default: 5)
static u64 shared_word = 5;
static u32 shared_half = 9;

static int jumps(u64 limit)
{
    int n = 0;
    for (int i = 0; i < 5; i++)
        n += ({ if (i == 1) continue; if (limit == 77) return 9; if (limit == 8) goto done; int q = i * 2; if (q == 8) break; q; });
done:
    return n;
}

static int routes(u64 x)
{
    int r = 0;
    for (int i = 0; i < 8; i++) {
        switch (x >> i & 7) {
        case 0 ... 3: r++; continue;
        case 5: goto out;
        case 6: { r += 2; break; }
        default: if (i == 3) break; r += 3;
        }
        if (r > 12) goto out;
    }
    r += 100;
out:
    return r;
}

TEST
{
    u64 *out = io->out;
    int n = 0;
    u64 x = io->in[0], y = io->in[1];
    OUT(sizeof(word)); OUT(word.data[2]); OUT(numbers.at[AT(HIDE(x) & 1)]); word.data[AT(HIDE(y) & 1)] = x; OUT(word.data[1]);
    OUT(sizeof(enum negative)); OUT(sizeof(enum big)); OUT(sizeof(enum mixed)); OUT(sizeof(enum small));
    OUT((s64)A); OUT(B < 0); OUT(held); OUT(Z); OUT((s64)M < N); OUT(Q + 1); OUT((enum small)(Q + x)); OUT((enum negative)x < 0);
    union bits v = { .raw = x }; v.b = y; v.c += 3; OUT(v.a); OUT(v.b); OUT(v.c); OUT(v.wide & 0xff); OUT(sizeof(v));
    char text[3]; const char *q = 0;
    OUT(KIND(1)); OUT(KIND(2UL)); OUT(KIND(text)); OUT(KIND(q)); OUT(KIND(io)); OUT(KIND((char)1));
    OUT(jumps(x)); OUT(routes(x)); OUT(routes(y));
    u64 a = y, b = x; u32 c;
#ifdef __ours__ // clang cannot before -mcpu=v4
    __atomic_store(&shared_word, &a, __ATOMIC_RELAXED); __atomic_load(&shared_word, &b, __ATOMIC_RELAXED); OUT(b);
#else
    shared_word = a; b = shared_word; OUT(b);
#endif
    b = x; __atomic_exchange(&shared_word, &b, &a, __ATOMIC_SEQ_CST); OUT(a); OUT(b);
    OUT(__atomic_compare_exchange(&shared_word, &b, &y, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)); OUT(b); OUT(shared_word);
    OUT(__sync_sub_and_fetch(&shared_half, (u32)y)); OUT(shared_half);
    OUT(__builtin_add_overflow((u32)x, -5, &c)); OUT(c); OUT(__builtin_sub_overflow((s8)x, (u8)y, &c)); OUT(c);
    OUT(__builtin_mul_overflow((u32)x, (s16)y, &c)); OUT(c);
    return n;
}
