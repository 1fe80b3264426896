#include "common.h"

__u64 accessed = 0;             /* pages asked for in the cache */
__u64 added = 0;                /* pages put into it, since they were not there */
__u64 dirtied = 0;              /* pages written to */
__u64 buffers = 0;              /* buffers of pages written to, which count as accesses of their own */

#define COUNTS(SECTION, NAME, COUNTER)                                                                                  \
    SEC(SECTION) int NAME(void *ctx)                                                                                    \
    {                                                                                                                   \
        if (wanted())                                                                                                   \
            __sync_fetch_and_add(&COUNTER, 1);                                                                          \
        return 0;                                                                                                       \
    }

COUNTS("kprobe/folio_mark_accessed", access_folio, accessed)
COUNTS("kprobe/mark_page_accessed", access_page, accessed)
COUNTS("kprobe/filemap_add_folio", add_folio, added)
COUNTS("kprobe/add_to_page_cache_lru", add_page, added)
COUNTS("raw_tp/writeback_dirty_folio", dirty_folio, dirtied)
COUNTS("raw_tp/writeback_dirty_page", dirty_page, dirtied)
COUNTS("kprobe/mark_buffer_dirty", dirty_buffer, buffers)
