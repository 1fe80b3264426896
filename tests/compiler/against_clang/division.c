// Signed division exists in BPF only since v4: ours is done by hand, so clang divides magnitudes here.
#ifdef __ours__
#define SDIV(T, U, a, b) ((T)(a) / (T)(b))
#define SMOD(T, U, a, b) ((T)(a) % (T)(b))
#else
#define MAG(T, U, v) ((T)(v) < 0 ? -(U)(v) : (U)(v))
#define SDIV(T, U, a, b) ((T)((((T)(a) < 0) != ((T)(b) < 0)) ? -(MAG(T, U, a) / MAG(T, U, b)) : MAG(T, U, a) / MAG(T, U, b)))
#define SMOD(T, U, a, b) ((T)((T)(a) < 0 ? -(MAG(T, U, a) % MAG(T, U, b)) : MAG(T, U, a) % MAG(T, U, b)))
#endif

TEST
{
    u64 *out = io->out;
    int n = 0;
    s64 a = io->in[0], b = io->in[1] ? io->in[1] : 1;
    s32 c = io->in[2], d = (s32)io->in[3] ? (s32)io->in[3] : 1;
    OUT(SDIV(s64, u64, a, b)); OUT(SMOD(s64, u64, a, b)); OUT((u32)SDIV(s32, u32, c, d)); OUT((u32)SMOD(s32, u32, c, d));
    OUT(SDIV(s64, u64, a, 10)); OUT(SMOD(s64, u64, a, 10)); OUT(SDIV(s64, u64, a, -7)); OUT(SMOD(s64, u64, a, -7));
    OUT(SDIV(s64, u64, a, 4096)); OUT(SMOD(s64, u64, a, 4096)); OUT((u32)SDIV(s32, u32, c, 1000)); OUT((u32)SMOD(s32, u32, c, -3));
    OUT(SDIV(s64, u64, 1000000007, b)); OUT(SMOD(s64, u64, -1000000007, b));
    OUT((u64)a / 10); OUT((u64)a % 10); OUT((u32)c / 3); OUT((u32)c % 3);
    return n;
}
