/* SPDX-License-Identifier: Apache-2.0 */
/* The one event loop (libuv) of the process, and what hangs on it: timers, descriptors, signals, a
 * directory watch, the thread pool, deferred calls.
 *
 * One thread; nothing here is safe to call from another. A callback is never run inside the call that
 * asked for it. Memory that a callback may still touch goes through loop_free_later(). */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct uv_loop_s;

bool loop_start(struct err *e) MUST_CHECK;
void loop_run(void);             /* until loop_stop() */
void loop_stop(void);            /* may be called from anywhere in the loop's thread */
void loop_finish(void);          /* closes what is left and frees; after loop_run() came back */
struct uv_loop_s *loop_uv(void); /* for net/ alone, which must hand it to h2o and libwebsockets */
int64_t loop_now_us(void);       /* monotonic, as of this turn of the loop: cheap */

typedef void (*loop_fn)(void *arg);

/* Runs once, after the callbacks of this turn (before the loop polls again). */
void loop_defer(loop_fn fn, void *arg);
/* mem_free()s p after this turn. */
void loop_free_later(void *p);
/* Runs fn each turn just before the loop blocks; for what must be swept or flushed once a turn. Those registered later run earlier: a layer
 * that was started before another also sends what that one gave it in this turn. */
struct loop_prepare;
struct loop_prepare *loop_prepare_start(loop_fn fn, void *arg);
void loop_prepare_stop(struct loop_prepare *p);

/* Timers. A timer object is made once and armed many times. */
struct timer;
struct timer *timer_new(loop_fn fn, void *arg);
void timer_arm(struct timer *t, int64_t after_ms);   /* once; again: moves it */
void timer_every(struct timer *t, int64_t every_ms); /* repeats */
void timer_disarm(struct timer *t);
bool timer_armed(const struct timer *t);
void timer_free(struct timer *t); /* NULL is fine; fn is not called any more */

/* A descriptor's readiness. Errors on the descriptor are reported as readable and writable, so that
 * the next read or write tells them; polling goes on. The descriptor stays the caller's to close, after io_free. */
struct io;
enum { IO_READ = 1, IO_WRITE = 2 };
typedef void (*io_fn)(void *arg, int events);
struct io *io_new(int fd, io_fn fn, void *arg);
void io_want(struct io *io, int events); /* 0: none */
void io_free(struct io *io);

/* fn(arg, signo) for SIGTERM, SIGINT, SIGHUP, SIGCHLD... */
typedef void (*signal_fn)(void *arg, int signo);
void loop_on_signal(int signo, signal_fn fn, void *arg);

/* fn is called some 100 ms after the last change of anything in the directory (not below it). */
struct dir_watch;
struct dir_watch *dir_watch_start(const char *path, loop_fn fn, void *arg, struct err *e);
void dir_watch_stop(struct dir_watch *w);

/* work runs in the thread pool and must not touch anything else; done runs on the loop. */
void loop_work(loop_fn work, loop_fn done, void *arg);

#endif
