/* Times `run` of one of the other files: time BLOCK TIMES prints the result and nanoseconds per run. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

unsigned long long run(unsigned char *block, unsigned long long length);

int main(int count, char **words)
{
    static unsigned char block[1 << 20];
    FILE *file = fopen(words[1], "rb");
    unsigned long long length = fread(block, 1, sizeof(block), file), result = 0;
    long times = atol(words[2]);
    struct timespec begin, end;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long i = 0; i < times; i++)
        result = run(block, length);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%llu %.3f\n", result, ((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) / times);
    return count != 3;
}
