#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

static int kind(int value)
{
    switch (value) {
    case 0:
        return 10;
    case 1:
    case 2:
        value += 100;
        break;
    default:
        value = 7;
    }
    return value;
}

SEC("syscall")
int run(struct { long value; long rounds; } *ctx)
{
    int sum = 0;

    if (ctx->value < 0)
        return -1;
    else if (ctx->value > 100)
        sum = 5;
    for (int i = 0; i < ctx->rounds && i < 8; i++) {
        if (i == 3)
            continue;
        sum += kind(ctx->value);
    }
    for (int n = 0; sum > 900 && n < 3; n++) {
        sum -= 1000;
    }
    return sum;
}

char LICENSE[] SEC("license") = "GPL";
