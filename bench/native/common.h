/* What the programs of this directory share. Each defines `run(block, length)`: compiled for BPF by our compiler, natively by gcc. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define load16(p) ((u32)(p)[0] << 8 | (p)[1]) /* big-endian */
#define load32le(p) ((u32)(p)[0] | (u32)(p)[1] << 8 | (u32)(p)[2] << 16 | (u32)(p)[3] << 24)
