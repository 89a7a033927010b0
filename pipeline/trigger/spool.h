/* SPDX-License-Identifier: Apache-2.0 */
/* Where webhook deliveries wait while Redis is away: files in DATA/spool, in the form of spool_frame.h.
 *
 * A delivery counts as kept when its record and all before it are on the disk (fdatasync, one for all that wait). When Redis
 * is back the files are stored in order, under the run ids that the senders were told, so that storing twice is harmless; a file is
 * deleted after every record of it was confirmed. A server that died leaves its files to the next one.
 *
 * A file whose records cannot all be stored (damage, or Redis refuses one for good) is not deleted but set aside as NAME.kept, with
 * a log line; renamed back, it is tried again at the next start. */
#ifndef TRIGGER_SPOOL_H
#define TRIGGER_SPOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "trigger/spool_frame.h"

/* Makes DATA/spool unless the setting `spool` is off, and takes up the files that are there. After store_start. */
bool spool_start(const char *data_dir, struct err *e) MUST_CHECK;
/* Stores no more; done(arg) when what was given is on the disk. */
void spool_stop(void (*done)(void *arg), void *arg);

/* e NULL: on the disk. ERR_UNAVAILABLE: full, switched off, or a disk error; then nothing of it is kept. The record is copied. */
typedef void (*spool_fn)(void *arg, const struct err *e);
void spool_add(const struct spool_record *r, spool_fn fn, void *arg);

uint64_t spool_bytes(void); /* of deliveries that wait here */

/* Tests put a failing disk here. Called in the thread pool. */
extern ssize_t (*spool_write)(int fd, const void *p, size_t n);
extern int (*spool_sync)(int fd);

#endif
