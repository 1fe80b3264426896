/* An Ethernet frame of 1514 bytes: IPv4 and TCP are checked, with both checksums. */
#include "common.h"

#define ETHERNET 14
#define FRAME 1514

__attribute__((noinline)) u64 run(u8 *block, u64 length)
{
    u8 *ip = block + ETHERNET;
    u32 sum = 0, pseudo, total, i;

    if (load16(block + 12) != 0x0800 || ip[0] != 0x45 || ip[9] != 6)
        return 1;
    total = load16(ip + 2);
    if (total != FRAME - ETHERNET)
        return 2;
    for (i = 0; i < 20; i += 2)
        sum += load16(ip + i);
    sum = (sum & 0xffff) + (sum >> 16);
    if (((sum & 0xffff) + (sum >> 16)) != 0xffff)
        return 3;
    pseudo = 6 + total - 20;
    for (i = 12; i < 20; i += 2)
        pseudo += load16(ip + i);
    for (i = 20; i < FRAME - ETHERNET; i += 2)
        pseudo += load16(ip + i);
    pseudo = (pseudo & 0xffff) + (pseudo >> 16);
    if (((pseudo & 0xffff) + (pseudo >> 16)) != 0xffff)
        return 4;
    return (u64)load16(ip + 20) << 16 | load16(ip + 22);
}
