// Every operator on every width and both signednesses, with inputs that are not known at compile time.
#define OPS(T, U, a, b) \
    OUT((T)(a + b)); OUT((T)(a - b)); OUT((T)(a * b)); OUT((T)(a & b)); OUT((T)(a | b)); OUT((T)(a ^ b)); \
    OUT((T)((U)a / (U)(b | 1))); OUT((T)((U)a % (U)(b | 1))); \
    OUT((T)~a); OUT((T)-a); OUT(!a); OUT(a == b); OUT(a != b); OUT(a < b); OUT(a <= b); OUT(a > b); OUT(a >= b); \
    OUT(a && b); OUT(a || b);

TEST
{
    u64 *out = io->out;
    int n = 0;
    u64 x = io->in[0], y = io->in[1];
    {
        s8 a = x, b = y; OPS(s8, u8, a, b)
    }
    {
        u8 a = x, b = y; OPS(u8, u8, a, b)
    }
    {
        s16 a = x, b = y; OPS(s16, u16, a, b)
    }
    {
        u16 a = x, b = y; OPS(u16, u16, a, b)
    }
    {
        u32 a = x, b = y; OPS(u32, u32, a, b)
    }
    {
        u64 a = x, b = y; OPS(u64, u64, a, b)
    }
    return n;
}
