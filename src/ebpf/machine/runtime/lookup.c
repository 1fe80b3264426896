/* Look-ups alone: what is put into the code of programs that the machine compiles. */
#define EBPF_LOOKUPS_ONLY
#include "array.h"
#include "hash.h"
#include "lpm_trie.h"
