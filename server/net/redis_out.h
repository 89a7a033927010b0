/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on their way to Redis: formatted into a chain of chunks, which is written with few system calls and
 * never shifted, however long the backlog is. Of net/redis alone. */
#ifndef NET_REDIS_OUT_H
#define NET_REDIS_OUT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/list.h"

struct redis_chunk;

struct redis_out {
    struct list chunks;
    struct redis_chunk *spare;
};

enum redis_written { WRITTEN_ALL, WRITTEN_SOME, WRITTEN_BROKEN /* see errno */ };

void redis_out_init(struct redis_out *o);
void redis_out_finish(struct redis_out *o);
void redis_out_clear(struct redis_out *o);
bool redis_out_empty(const struct redis_out *o);
void redis_out_command(struct redis_out *o, size_t argc, const struct str *argv);
enum redis_written redis_out_write(struct redis_out *o, int fd); /* to a non-blocking socket */

#endif
