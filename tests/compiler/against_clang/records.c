struct point { s32 x, y; };
struct line { struct point from, to; char name[12]; union { u64 whole; u32 half[2]; u8 bytes[8]; }; struct { u16 in; } nest; };
static struct point add(struct point a, struct point b) { struct point r = { a.x + b.x, a.y + b.y }; return r; }
static struct line make(u64 v) { struct line l = { .to = { v, v >> 8 }, .name = "line", .whole = v * 3, .nest.in = 7 }; return l; }
static struct point pick(int which, struct point a, struct point b) { return which ? a : b; }
static void swap(struct point *a, struct point *b) { struct point t = *a; *a = *b; *b = t; }

TEST
{
    u64 *out = io->out;
    int n = 0;
    u64 x = io->in[0], y = io->in[1];
    struct point a = { x, y }, b = { .y = 5, .x = x }, c;
    c = add(a, b);
    OUT(c.x); OUT(c.y); OUT(add(c, a).y); OUT(pick(x & 1, a, b).y);
    swap(&a, &b); OUT(a.x); OUT(a.y); OUT(b.x); OUT(b.y);
    struct line l = make(x), m;
    m = l; m.half[1] = 9; m.from = a; l = m;
    OUT(l.from.x); OUT(l.to.y); OUT(l.whole); OUT(l.half[0]); OUT(l.bytes[3]); OUT(l.nest.in); OUT(l.name[0]); OUT(l.name[4]); OUT(l.name[11]);
    struct line *p = &l;
    p->to = (struct point){ 1, y }; OUT(p->to.y); OUT((struct point){ x, 4 }.x);
    p->name[2] = y; OUT(p->name[2]); OUT(((u8 *)p)[2]);
    struct point many[3] = { [1] = { 1, x }, { 3 } };
    OUT(many[0].x); OUT(many[1].y); OUT(many[2].x); OUT(many[2].y);
    int grid[3][4] = { { 1, 2 }, [2] = { [3] = y, } };
    OUT(grid[0][1]); OUT(grid[2][3]); OUT(grid[1][0]); OUT(sizeof(grid)); OUT(grid[x & 1][y & 3]);
    char text[] = "hello", same[8] = "hi";
    OUT(sizeof(text)); OUT(text[4]); OUT(text[5]); OUT(same[1]); OUT(same[7]);
    struct point z = ({ struct point t = many[1]; t.x += 2; t; }); OUT(z.x); OUT(z.y);
    struct point q = x & 2 ? a : many[1]; OUT(q.x); OUT(q.y);
    OUT(__builtin_offsetof(struct line, to.y)); OUT(sizeof(struct line)); OUT(_Alignof(struct line));
    return n;
}
