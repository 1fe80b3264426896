// Which object each value belongs to: designators that leave elided braces, ranges, types left to the value.
struct in { int b, c; };
struct out { struct in a; int d; int list[3]; struct in pair[2]; union { u32 whole; u8 parts[4]; }; };
static const struct out one = { .a.b = 1, 2, 3, 4, 5, 6, 7, 8 };
static struct out two = { .list[1] = 1, 2, { { 3 }, { .c = 4 } }, .a = { 5 }, 6 };
static struct out three[3] = { [0].a.c = 1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, [2].pair[1].b = 15, 16, 17, [1] = { .parts[2] = 9, 8 } };
static struct out four = { .pair = { [1] = { 1, 2 }, [0].c = 3 }, .parts = "xyz", .a.b = 9, .a.c = 8 };
static const int by_index[] = { 7, [4] = 1, 2, [1 ... 2] = 5, 6 };
#define larger(a, b) ({ __auto_type _a = (a); __auto_type _b = (b); _a > _b ? _a : _b; })
#define SHOW(o) do { const struct out *s = (o); \
    OUT(s->a.b); OUT(s->a.c); OUT(s->d); OUT(s->list[0]); OUT(s->list[1]); OUT(s->list[2]); \
    OUT(s->pair[0].b); OUT(s->pair[0].c); OUT(s->pair[1].b); OUT(s->pair[1].c); OUT(s->whole); } while (0)

TEST
{
    u64 *out = io->out;
    int n = 0;
    int x = io->in[0], y = io->in[1];
    SHOW(&one); SHOW(&two); SHOW(&three[0]); SHOW(&three[1]); SHOW(&three[2]); SHOW(&four);
    struct out five = { .a.b = x, y, 3, .a.c = 9, x, .list = { 1 }, .list[2] = y, 4, 5 };
    SHOW(&five);
    OUT(sizeof(by_index)); OUT(by_index[io->in[2] & 3]);
    __auto_type copy = five; const __auto_type p = &copy; __auto_type first = p->list; OUT(first[2]); OUT(copy.a.b);
    OUT(larger((s8)x, y)); OUT(larger((u16)x, (s64)y)); OUT(sizeof(larger((s8)x, (s8)y)));
    return n;
}
