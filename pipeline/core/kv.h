/* SPDX-License-Identifier: Apache-2.0 */
/* Keys: named values with versions, each the Redis hash hm:kv:NAME {value, version, meta}.
 *
 * Any write feeds the stages that watch the key, and appends an event, in the same atomic step. meta is ours ("sum:version:seq:encoding", see
 * pipeline/README.md); a foreign client that writes only value, or value and version, is noticed and adopted. */
#ifndef CORE_KV_H
#define CORE_KV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { KV_ANY = -1 }; /* no version asked for; 0: must not exist */

struct kv_put {
    struct str key;
    struct str value;   /* any bytes; stages expect JSON */
    int64_t if_version; /* KV_ANY, 0, or the version that it must have */
};

struct kv_value { /* borrowed by the callback */
    struct str key;
    struct str value; /* decoded */
    int64_t version;  /* 0: no such key */
    size_t size;      /* of the value, also in a listing that leaves the value out */
};

/* n results in the order of the puts: version > 0: written; < 0: conflict, -1 - current version. e: nothing is known to be written. */
typedef void (*kv_put_fn)(void *arg, size_t n, const int64_t *versions, const struct err *e);
/* One atomic step for all (at most 500). The names must have passed key_check. */
void kv_put(size_t n, const struct kv_put *puts, kv_put_fn fn, void *arg);

typedef void (*kv_get_fn)(void *arg, size_t n, const struct kv_value *values, const struct err *e);
void kv_get(size_t n, const struct str *keys, kv_get_fn fn, void *arg); /* at most 500; in order */

/* version: as for kv_put; result > 0: deleted (its last version); 0: there was none; < 0: conflict. */
typedef void (*kv_del_fn)(void *arg, int64_t result, const struct err *e);
void kv_del(struct str key, int64_t if_version, kv_del_fn fn, void *arg);

/* One page of the keys that match: begin with cursor 0, go on with `next` until it is 0 again. A page holds up to ~500 keys and may hold
 * none in between; the caller asks for the next one when it has room for it. In no order; a key may come twice when the set changes meanwhile. */
typedef void (*kv_list_fn)(void *arg, size_t n, const struct kv_value *values, uint64_t next,
                           const struct err *e);
void kv_list(struct str pattern, bool with_values, uint64_t cursor, kv_list_fn fn, void *arg);

/* Watch: the current values, then `ready`, then every change as it happens (the latest value at the time of reading; a burst may be seen
 * as its last value). Deletes are changes of their own (version 0, deleted true). */
enum kv_watch_what { KV_VALUE, KV_READY, KV_CHANGED, KV_DELETED };
typedef void (*kv_watch_fn)(void *arg, enum kv_watch_what what, const struct kv_value *v);
struct kv_watch;
struct kv_watch *kv_watch_start(struct str pattern, kv_watch_fn fn, void *arg);
void kv_watch_stop(struct kv_watch *w); /* fn is not called any more */

#endif
