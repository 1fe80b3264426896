struct pair { u32 a; u16 b; char name[6]; const char *text; int *number; };
static int counter = 5;
static int zero;
u64 visible = 0x1122334455667788;
const volatile u32 setting = 77;
static const u8 table[8] = { 1, 2, 4, 8, 16, 32, 64, 128 };
static const struct pair pairs[2] = { { 1, 2, "abc", "long text", 0 }, { .b = 9, .name = "defghi", .number = &zero } };
static const char *const words[3] = { "zero", "one", "two" };
static u64 twice(u64 v) { static u32 calls = 2; calls++; return v * calls; }
static __attribute__((noinline)) int bump(int by) { counter += by; return counter; }
int global_function(u32 v) { return v * 3 + setting; }

TEST
{
    u64 *out = io->out;
    int n = 0;
    u64 x = io->in[0];
    OUT(visible); visible += x; OUT(visible); OUT(setting); OUT(table[x & 7]); OUT(pairs[x & 1].b); OUT(pairs[1].name[x & 3]);
    OUT(pairs[0].text[5]); OUT(words[2][1]); OUT(*pairs[1].number); zero = x; OUT(*pairs[1].number);
    OUT(bump(x)); OUT(bump(2)); OUT(counter); OUT(twice(x)); OUT(twice(3)); OUT(global_function(x));
    const char *s = x & 1 ? "odd" : "even"; OUT(s[0]); OUT("constant"[x & 7]);
    counter = 5; zero = 0; visible = 0x1122334455667788;
    return n;
}
