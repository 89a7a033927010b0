/* SPDX-License-Identifier: Apache-2.0 */
/* The world of one flow test: a temporary directory, a real hookmesh server, a real Redis, and a client for both.
 *
 *     struct world *w = world_make();
 *     world_config(w, "main.yaml", "pipelines: ...");
 *     world_start(w);
 *     struct world_reply r = world_http(w, "PUT", "/v1/kv/a.b", NULL, STR("1"));
 *     ck_assert_int_eq(r.status, 201);
 *     world_reply_finish(&r);
 *     world_free(w);
 *
 * Everything fails the test by itself when it doesn't work out, with the server's last log lines, so nothing here returns an error. A test
 * that fails leaves its directory behind (its name is in the message); the processes die with the test, however it ends. Nothing waits for a
 * fixed time: all waits end with the event that they wait for. */
#ifndef FLOW_WORLD_H
#define FLOW_WORLD_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/json.h"

enum { WORLD_TIMEOUT_MS = 60000 }; /* generous: a sanitizer build on a busy machine */

struct world {
    char *dir;       /* the temporary directory */
    char *data;      /* DIR/data */
    char *config;    /* DIR/config, or what world_config_dir said; NULL: the server gets none */
    char *log;       /* DIR/server.log: stderr of all servers of this world, one after the other */
    char *redis_url; /* unix://...: the one of world_redis_start, else the server's private one */
    char *url;       /* "http://127.0.0.1:PORT" while a server runs */
    int port;
    pid_t pid;       /* the server; 0: none runs */
    pid_t redis_pid; /* of world_redis_start; 0: none runs */
    /* Private to world.c. */
    char *redis_socket;
    char **env;
    char **args;
    size_t env_n;
    size_t args_n;
    int64_t log_from; /* where the present server's lines begin */
};

/* Setting up, before world_start. */
struct world *world_make(void);
void world_file(struct world *w, const char *name, const char *text);   /* DIR/name, made whole */
void world_config(struct world *w, const char *name, const char *yaml); /* DIR/config/name */
void world_config_dir(struct world *w,
                      const char *path); /* a directory that exists, read in place */
void world_env(struct world *w, const char *assignment); /* "NAME=value" for the server */
void world_arg(struct world *w, const char *arg);        /* one more word behind `serve ...` */

/* The server. Its environment holds PATH, HOME, LANG, TMPDIR, the sanitizers' options and world_env alone. */
void world_start(struct world *w);   /* and waits until it is ready */
void world_launch(struct world *w);  /* only until it listens: for tests with Redis away */
void world_stop(struct world *w);    /* SIGTERM; it must exit 0 */
void world_kill9(struct world *w);   /* and waits for its end */
void world_restart(struct world *w); /* stop, start */
int world_wait_exit(
    struct world *w);             /* exit status of a server that ends by itself; 128 + signal */
void world_free(struct world *w); /* stops what runs (exit 0 asked for), removes the directory */
/* Waits for a log line of the present server that holds all of text. */
void world_wait_log(struct world *w, const char *text);
bool world_has_log(const struct world *w, const char *text);

/* Redis of the test's own, on a unix socket, AOF on; the server is pointed at it by --redis. */
void world_redis_start(struct world *w); /* again after a stop or a kill: the same data */
void world_redis_stop(struct world *w);
void world_redis_kill9(struct world *w);
void world_redis_pause(struct world *w);  /* SIGSTOP: connected, but deaf */
void world_redis_resume(struct world *w); /* SIGCONT */
/* One command, words as printf gives them, separated by spaces: world_redis(w, "HSET hm:kv:%s value 1", key). The answer as
 * redis-cli shows it to a program: integers as digits, nil as nothing, arrays one item a line. The caller frees with mem_free. */
char *world_redis(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *world_redis_argv(struct world *w, size_t argc, const struct str *argv); /* any bytes */
int64_t world_redis_int(struct world *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* HTTP. */
struct world_reply {
    int status;        /* 0: the connection was closed without an answer */
    struct buf head;   /* status line and headers as received */
    struct buf body;   /* chunks put together */
    struct json *json; /* of world_json and world_get_json, else NULL */
};
/* headers: "Name: value\r\n..." or NULL. One request a connection (Connection: close). */
struct world_reply world_http(struct world *w, const char *method, const char *path,
                              const char *headers, struct str body);
struct world_reply world_raw(struct world *w,
                             struct str bytes); /* sent as they are; first answer */
/* Everything that comes back until the server closes or is silent for quiet_ms: for pipelined and malformed requests. */
void world_raw_all(struct world *w, struct str bytes, int64_t quiet_ms, struct buf *out);
/* GET path; must be 200 with JSON. */
struct world_reply world_get_json(struct world *w, const char *path);
struct json *world_json(
    struct world_reply *r); /* parses the body; the test fails when it isn't JSON */
struct str world_header(const struct world_reply *r, const char *name); /* {NULL,0}: absent */
void world_reply_finish(struct world_reply *r);

/* Connections that stay open: streams of events, slow senders. */
int world_connect(struct world *w);
void world_send(int fd, struct str bytes);
/* Reads on until what was read holds text; false: closed, or nothing such within timeout_ms. */
bool world_read_until(int fd, struct buf *got, const char *text, int64_t timeout_ms);

/* One read, as much as is there; false: closed, or nothing within the time. */
bool world_read_some(int fd, struct buf *got, int64_t timeout_ms);

/* WebSocket. */
struct world_ws;
struct world_ws *world_ws_open(struct world *w, const char *path,
                               const char *protocol); /* protocol may be NULL */
/* NULL with the answer's status when the handshake is refused. headers: "Name: value\r\n..." or NULL. */
struct world_ws *world_ws_try(struct world *w, const char *path, const char *headers, int *status);
void world_ws_close(struct world_ws *ws); /* just closes the connection */
void world_ws_send(struct world_ws *ws, const char *text);
void world_ws_frame(struct world_ws *ws, int first_byte, bool masked, struct str payload);
void world_ws_bytes(struct world_ws *ws, struct str bytes); /* as they are */
/* The next text message, valid until the next call; NULL: closed, or nothing within the time. Pings are answered. */
const char *world_ws_next(struct world_ws *ws, int64_t timeout_ms);
/* The next message that holds text; fails the test when none comes. */
const char *world_ws_until(struct world_ws *ws, const char *text);
int world_ws_close_code(struct world_ws *ws); /* waits for the server's close; 0: cut without one */

/* A GitHub delivery: "X-Hub-Signature-256: sha256=..." by secret. */
void world_sign_github(struct buf *header, const char *secret, struct str body);
struct world_reply world_github(struct world *w, const char *path, const char *event,
                                const char *delivery, const char *secret, struct str body);

/* The command line as a client of this server: `hookmesh ARGS`, words NULL-terminated. */
struct world_run {
    int code; /* exit status; 128 + signal */
    struct buf out;
    struct buf err;
};
struct world_run world_cli(struct world *w, struct str input, const char *const *args);
#define WORLD_CLI(w, ...)                                                                          \
    world_cli((w), (struct str){NULL, 0}, (const char *const[]){__VA_ARGS__, NULL})
void world_run_finish(struct world_run *r);

/* Asks again until condition(arg) holds, at once and then with growing pauses of 1 to 50 ms; false after timeout_ms. */
bool world_wait_until(bool (*condition)(void *arg), void *arg, int64_t timeout_ms);
/* GETs path until the JSON value at the dotted path where is text (strings, or numbers and true/false as JSON writes them); fails the
 * test after WORLD_TIMEOUT_MS with the last answer. */
void world_wait_json(struct world *w, const char *path, const char *where, const char *text);

/* Fails the test with the server's last log lines. */
__attribute__((noreturn, format(printf, 2, 3))) void world_fail(const struct world *w,
                                                                const char *fmt, ...);
char *world_slurp(const char *path, size_t *n); /* a whole file; the caller frees */

#endif
