/* Primes below 65,536: byte stores with a stride. */
#include "common.h"

#define LIMIT 65536

__attribute__((noinline)) u64 run(u8 *block, u64 length)
{
    u64 primes = 0;

    for (u32 i = 0; i < LIMIT; i++)
        block[i] = 1;
    for (u32 i = 2; i < 256; i++)
        if (block[i])
            for (u32 j = i * i; j < LIMIT; j += i)
                block[j] = 0;
    for (u32 i = 2; i < LIMIT; i++)
        primes += block[i];
    return primes;
}
