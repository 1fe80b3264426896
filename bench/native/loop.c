/* Arithmetic alone: a xorshift generator, hashed. */
#include "common.h"

__attribute__((noinline)) u64 run(u8 *block, u64 length)
{
    u64 hash = 14695981039346656037ULL, x = 88172645463325252ULL + block[0];

    for (u32 i = 0; i < 1000000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        hash = (hash ^ x) * 1099511628211ULL;
    }
    return hash;
}
