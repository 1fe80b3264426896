/* A filter that looks at headers only: TCP to port 443 from 10.0.0.0/8, or DNS. */
#include "common.h"

__attribute__((noinline)) u64 run(u8 *block, u64 length)
{
    u8 *ip = block + 14, *transport;
    u32 port;

    if (block[12] != 8 || block[13] != 0)
        return 0;
    if (ip[0] != 0x45 || (load16(ip + 6) & 0x1fff))
        return 0;
    transport = ip + 20;
    port = load16(transport + 2);
    if (ip[9] == 6)
        return port == 443 && ip[12] == 10 ? 2 : 1;
    if (ip[9] == 17)
        return port == 53 ? 3 : 1;
    return 0;
}
