/* SipHash-2-4 of 4 KiB, key in the first 16 bytes of the block (Aumasson and Bernstein, 2012). */
#include "common.h"

#define BYTES 4096
#define rotate(x, b) ((x) << (b) | (x) >> (64 - (b)))
#define ROUND                                                           \
    do {                                                                \
        v0 += v1; v2 += v3;                                             \
        v1 = rotate(v1, 13) ^ v0; v3 = rotate(v3, 16) ^ v2;             \
        v0 = rotate(v0, 32);                                            \
        v2 += v1; v0 += v3;                                             \
        v1 = rotate(v1, 17) ^ v2; v3 = rotate(v3, 21) ^ v0;             \
        v2 = rotate(v2, 32);                                            \
    } while (0)

__attribute__((noinline)) u64 run(u8 *block, u64 length)
{
    u64 *key = (u64 *)block, *words = (u64 *)(block + 16);
    u64 v0 = key[0] ^ 0x736f6d6570736575ULL, v1 = key[1] ^ 0x646f72616e646f6dULL;
    u64 v2 = key[0] ^ 0x6c7967656e657261ULL, v3 = key[1] ^ 0x7465646279746573ULL;
    u64 last = (u64)(BYTES & 255) << 56;

    for (u32 i = 0; i < BYTES / 8; i++) {
        u64 word = words[i];

        v3 ^= word;
        ROUND;
        ROUND;
        v0 ^= word;
    }
    v3 ^= last;
    ROUND;
    ROUND;
    v0 ^= last;
    v2 ^= 255;
    ROUND;
    ROUND;
    ROUND;
    ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}
