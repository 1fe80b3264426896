/* CRC-32 of 4 KiB by a table of 256 words, which is the block's first KiB. */
#include "common.h"

__attribute__((noinline)) u64 run(u8 *block, u64 length)
{
    u32 *table = (u32 *)block, crc = ~0U;
    u8 *data = block + 1024;

    for (u32 i = 0; i < 4096; i++)
        crc = table[(crc ^ data[i]) & 255] ^ crc >> 8;
    return ~crc;
}
