/* SPDX-License-Identifier: Apache-2.0 */
/* Against a real redis-server on a unix socket in a directory of the test's own; where Redis must misbehave, a
 * listening socket of the test says what it would. */
#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/loop.h"
#include "net/redis.h"

Suite *redis_suite(void);

static char dir[64];
static pid_t server;
static struct redis *conn;
static struct buf seen;  /* what arrived, as text */
static int ups, downs;   /* state changes of conn */
static int stop_at_ups;  /* stop the loop at so many; 0: never */
static size_t oks, errs; /* callbacks of counted commands */

static void server_start(const char *extra_name, const char *extra_value)
{
    server = fork();
    ck_assert_int_ge(server, 0);
    if (server != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    ck_assert_int_eq(chdir(dir), 0);
    execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", "r.sock", "--save", "",
           "--logfile", "log", "--notify-keyspace-events", "Kgh", extra_name, extra_value,
           (char *)NULL);
    _exit(127);
}

static void server_kill(void)
{
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    server = 0;
}

static void setup(void)
{
    struct err e;
    log_setup(LOG_ERROR, false, STDERR_FILENO);
    snprintf(dir, sizeof dir, "/tmp/redis_test.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert(loop_start(&e));
}

static void teardown(void)
{
    redis_close(conn);
    loop_finish();
    if (server != 0)
        server_kill();
    char *rm = mem_format("rm -rf %s", dir);
    ck_assert_int_eq(system(rm), 0);
    mem_free(rm);
    buf_finish(&seen);
    log_forget_secrets();
}

static void on_state(void *arg, bool up)
{
    (void)arg;
    up ? ups++ : downs++;
    if (up && ups == stop_at_ups)
        loop_stop();
}

static struct redis *open_url(const char *text)
{
    struct redis_url url;
    struct err e;
    ck_assert_msg(redis_url_parse(text, &url, &e), "%s", e.text);
    struct redis *r = redis_open(&url, "test", on_state, NULL);
    redis_url_finish(&url);
    return r;
}

/* Opens conn and runs the loop until it is up. */
static void connect_to_server(const char *suffix)
{
    char *url = mem_format("unix://%s/r.sock%s", dir, suffix);
    conn = open_url(url);
    mem_free(url);
    stop_at_ups = 1;
    loop_run();
    ck_assert(redis_up(conn));
    ck_assert_str_eq(redis_trouble(conn), "");
}

static void stop(void *arg)
{
    (void)arg;
    loop_stop();
}

static void describe(const struct reply *r)
{
    switch (reply_type(r)) {
    case REPLY_NIL: buf_puts(&seen, "nil"); break;
    case REPLY_INT: buf_printf(&seen, "%lld", (long long)reply_int(r)); break;
    case REPLY_STR: buf_printf(&seen, "'%.*s'", (int)reply_str(r).n, reply_str(r).p); break;
    case REPLY_STATUS: buf_printf(&seen, "+%.*s", (int)reply_str(r).n, reply_str(r).p); break;
    case REPLY_ERROR: buf_printf(&seen, "-%.*s", (int)reply_str(r).n, reply_str(r).p); break;
    case REPLY_ARRAY:
        buf_puts(&seen, "[");
        for (size_t i = 0; i < reply_len(r); i++) {
            describe(reply_at(r, i));
            buf_puts(&seen, " ");
        }
        buf_puts(&seen, "]");
        break;
    }
}

static void on_reply(void *arg, const struct reply *r, const struct err *e)
{
    if (e != NULL) {
        ck_assert_ptr_null(r);
        buf_printf(&seen, "(%s %s)", err_name(e->code), e->text);
    } else {
        describe(r);
    }
    buf_puts(&seen, ";");
    if (arg != NULL)
        loop_stop();
}

static char LAST[] = "stop after this one";

START_TEST(replies_come_in_order_and_keep_their_types)
{
    server_start("--appendonly", "no");
    connect_to_server("");
    redis_cmd(conn, on_reply, NULL, "SET", "k", "v", NULL);
    redis_cmd(conn, on_reply, NULL, "GET", "k", NULL);
    redis_cmd(conn, on_reply, NULL, "GET", "none", NULL);
    redis_cmd(conn, NULL, NULL, "INCR", "n", NULL);
    redis_cmd(conn, on_reply, NULL, "INCR", "n", NULL);
    redis_cmd(conn, on_reply, NULL, "EVAL", "return {1,{'a',{}},false,redis.error_reply('E x')}",
              "0", NULL);
    redis_cmd(conn, on_reply, LAST, "CLIENT", "GETNAME", NULL);
    ck_assert_uint_eq(redis_pending(conn), 7);
    ck_assert_uint_eq(seen.n, 0);
    loop_run();
    ck_assert_str_eq(seen.p, "+OK;'v';nil;2;[1 ['a' [] ] nil -E x ];'hookmesh-test';");
    ck_assert_uint_eq(redis_pending(conn), 0);
}
END_TEST

static void error_reply(const char *text, void *arg)
{
    char *script = mem_format("return redis.error_reply('%s')", text);
    redis_cmd(conn, on_reply, arg, "EVAL", script, "0", NULL);
    mem_free(script);
}

START_TEST(errors_of_the_server_get_their_code_from_the_first_word)
{
    server_start("--appendonly", "no");
    connect_to_server("");
    error_reply("STALE lease is over", NULL);
    error_reply("CONFLICT k is at 3", NULL);
    error_reply("VERSION is 2", NULL);
    error_reply("OOM command not allowed", NULL);
    error_reply("READONLY replica", NULL);
    redis_cmd(conn, on_reply, LAST, "NOSUCH", NULL);
    loop_run();
    ck_assert_str_eq(seen.p, "(ERR_STALE STALE lease is over);"
                             "(ERR_CONFLICT CONFLICT k is at 3);"
                             "(ERR_PRECONDITION VERSION is 2);"
                             "(ERR_UNAVAILABLE OOM command not allowed);"
                             "(ERR_UNAVAILABLE READONLY replica);"
                             "(ERR_INTERNAL ERR unknown command 'NOSUCH', with args beginning "
                             "with: );");
}
END_TEST

static void expect_integers(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    ck_assert_ptr_null(e);
    const int64_t want[] = {12, -7, INT64_MAX, 0, 0, 0};
    for (size_t i = 0; i < 6; i++)
        ck_assert_int_eq(reply_int(reply_at(r, i)), want[i]);
    ck_assert_ptr_null(reply_at(r, 6));
    ck_assert_uint_eq(reply_len(reply_at(r, 0)), 0);
    ck_assert_ptr_null(reply_str(r).p);
    loop_stop();
}

START_TEST(a_reply_that_is_not_there_is_a_nil)
{
    ck_assert_int_eq(reply_type(NULL), REPLY_NIL);
    ck_assert_ptr_null(reply_str(NULL).p);
    ck_assert_int_eq(reply_int(NULL), 0);
    ck_assert_uint_eq(reply_len(NULL), 0);
    ck_assert_ptr_null(reply_at(NULL, 0));
}
END_TEST

START_TEST(strings_that_are_numbers_read_as_integers)
{
    server_start("--appendonly", "no");
    connect_to_server("");
    redis_cmd(conn, expect_integers, NULL, "EVAL",
              "return {'12','-7','9223372036854775807','9223372036854775808','1x',''}", "0", NULL);
    loop_run();
}
END_TEST

static void expect_big(void *arg, const struct reply *r, const struct err *e)
{
    ck_assert_ptr_null(e);
    ck_assert(str_eq(reply_str(r), buf_view(arg)));
    loop_stop();
}

START_TEST(big_and_binary_values_pass_unchanged)
{
    server_start("--appendonly", "no");
    connect_to_server("");
    struct buf big = {0};
    for (uint32_t i = 0; i < 5 * 1000 * 1000; i++) {
        uint32_t v = i * 2654435761U;
        buf_add(&big, &v, sizeof v);
    }
    redis_call(conn, NULL, NULL, 3, (struct str[]){STR("SET"), STR("big"), buf_view(&big)});
    redis_cmd(conn, expect_big, &big, "GET", "big", NULL);
    loop_run();
    buf_finish(&big);
}
END_TEST

static void expect_many(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    ck_assert_ptr_null(e);
    ck_assert_uint_eq(reply_len(r), 5000);
    ck_assert_int_eq(reply_int(reply_at(r, 4999)), 4999);
    loop_stop();
}

START_TEST(command_may_have_thousands_of_arguments)
{
    enum { N = 5000 };
    server_start("--appendonly", "no");
    connect_to_server("");
    static char digits[N][8];
    static struct str argv[N + 2];
    argv[0] = STR("RPUSH");
    argv[1] = STR("list");
    for (size_t i = 0; i < N; i++) {
        int n = snprintf(digits[i], sizeof digits[i], "%zu", i);
        argv[i + 2] = (struct str){digits[i], (size_t)n};
    }
    redis_call(conn, NULL, NULL, N + 2, argv);
    memset(digits, 'x', sizeof digits); /* they were copied */
    redis_cmd(conn, expect_many, NULL, "LRANGE", "list", "0", "-1", NULL);
    loop_run();
}
END_TEST

START_TEST(command_while_it_is_down_fails_at_the_next_turn)
{
    conn = open_url("unix:///nonexistent/r.sock");
    redis_cmd(conn, on_reply, LAST, "PING", NULL);
    ck_assert_uint_eq(seen.n, 0);
    loop_run();
    ck_assert_str_eq(seen.p, "(ERR_REDIS not connected to Redis yet);");
    ck_assert_uint_eq(redis_pending(conn), 0);
}
END_TEST

static void on_counted(void *arg, const struct reply *r, const struct err *e)
{
    size_t *all = arg;
    if (e == NULL) {
        oks++;
        ck_assert_ptr_nonnull(r);
    } else {
        errs++;
        ck_assert_int_eq(e->code, ERR_REDIS);
    }
    if (oks + errs == *all)
        loop_stop();
}

static void start_server_again(void *arg)
{
    (void)arg;
    server_start("--appendonly", "no");
}

static void on_message(void *arg, struct str channel, struct str payload)
{
    (void)arg;
    buf_str(&seen, channel);
    buf_char(&seen, '=');
    buf_str(&seen, payload);
    buf_char(&seen, ';');
    loop_stop();
}

/* Blocks the server so that commands are under way when it is killed. */
START_TEST(killed_server_fails_each_command_once_and_the_connection_comes_back)
{
    server_start("--appendonly", "no");
    connect_to_server("");
    kill(server, SIGSTOP);
    size_t all = 100;
    for (size_t i = 0; i < all; i++)
        redis_cmd(conn, on_counted, &all, "INCR", "n", NULL);
    struct timer *t = timer_new(stop, NULL);
    timer_arm(t, 20);
    loop_run();
    timer_free(t);
    ck_assert_uint_eq(redis_pending(conn), all);
    server_kill();
    loop_run();
    ck_assert_uint_eq(errs, all);
    ck_assert_int_eq(downs, 1);
    ck_assert(!redis_up(conn));
    stop_at_ups = 2;
    loop_defer(start_server_again, NULL);
    loop_run();
    redis_cmd(conn, on_reply, LAST, "INCR", "n", NULL);
    loop_run();
    ck_assert_str_eq(seen.p, "1;");
    ck_assert_uint_eq(oks + errs, all);
}
END_TEST

START_TEST(subscription_is_taken_up_again_after_the_server_came_back)
{
    server_start("--appendonly", "no");
    char *url = mem_format("unix://%s/r.sock", dir);
    struct redis *bell = open_url(url);
    redis_psubscribe(bell, on_message, NULL, 2,
                     (struct str[]){STR("__keyspace@0__:a*"), STR("b*")});
    stop_at_ups = 1;
    loop_run();
    stop_at_ups = 2;
    conn = open_url(url);
    loop_run();
    redis_cmd(conn, NULL, NULL, "HSET", "a1", "f", "v", NULL);
    loop_run();
    server_kill();
    server_start("--appendonly", "no");
    stop_at_ups = 4; /* both are up again */
    loop_run();
    redis_cmd(conn, NULL, NULL, "HSET", "a2", "f", "v", NULL);
    loop_run();
    redis_call(conn, NULL, NULL, 3, (struct str[]){STR("PUBLISH"), STR("b"), STR("x\0y")});
    loop_run();
    ck_assert_int_eq(downs, 2);
    ck_assert(
        str_eq(buf_view(&seen), STR("__keyspace@0__:a1=hset;__keyspace@0__:a2=hset;b=x\0y;")));
    redis_close(bell);
    mem_free(url);
}
END_TEST

START_TEST(subscription_on_a_connection_that_is_up_is_told_by_a_second_up)
{
    server_start("--appendonly", "no");
    connect_to_server("");
    redis_psubscribe(conn, on_message, NULL, 1, &STR("c*"));
    stop_at_ups = 2;
    loop_run();
    ck_assert_int_eq(downs, 0);
    redis_cmd(conn, on_reply, LAST, "PING", NULL);
    loop_run();
    ck_assert_str_eq(seen.p, "(ERR_INTERNAL the Redis connection test is for messages only);");
}
END_TEST

static void kill_after_some(void *arg, const struct reply *r, const struct err *e)
{
    on_counted(arg, r, e);
    if (oks == 1500 && server != 0)
        server_kill();
}

START_TEST(cut_in_the_middle_of_a_load_fires_each_callback_exactly_once)
{
    server_start("--appendonly", "no");
    connect_to_server("");
    size_t all = 10000;
    char *body = mem_alloc(10000);
    memset(body, 'b', 10000);
    for (size_t i = 0; i < all; i++)
        redis_call(conn, kill_after_some, &all, 3,
                   (struct str[]){STR("SET"), STR("key"), {body, 10000}});
    mem_free(body);
    loop_run();
    ck_assert_uint_eq(oks + errs, all);
    ck_assert_uint_ge(oks, 1500);
    ck_assert_uint_gt(errs, 0);
    stop_at_ups = 2;
    server_start("--appendonly", "no");
    loop_run();
    ck_assert(redis_up(conn));
    ck_assert_uint_eq(oks + errs, all);
}
END_TEST

START_TEST(closing_cancels_the_commands_under_way)
{
    server_start("--appendonly", "no");
    connect_to_server("");
    redis_cmd(conn, on_reply, NULL, "PING", NULL);
    redis_cmd(conn, on_reply, LAST, "PING", NULL);
    redis_close(conn);
    ck_assert_uint_eq(seen.n, 0);
    conn = NULL;
    loop_run();
    ck_assert_str_eq(seen.p, "(ERR_CANCELLED the connection to Redis was closed here);"
                             "(ERR_CANCELLED the connection to Redis was closed here);");
}
END_TEST

static void close_in_callback(void *arg, const struct reply *r, const struct err *e)
{
    on_reply(NULL, r, e);
    redis_close(arg);
    redis_cmd(arg, on_reply, LAST, "PING", NULL);
}

START_TEST(connection_may_be_closed_in_a_callback_of_its_own)
{
    server_start("--appendonly", "no");
    connect_to_server("");
    redis_cmd(conn, close_in_callback, conn, "PING", NULL);
    redis_cmd(conn, on_reply, NULL, "GET", "x", NULL);
    loop_run();
    conn = NULL;
    ck_assert_str_eq(seen.p, "+PONG;(ERR_CANCELLED the connection to Redis was closed here);"
                             "(ERR_CANCELLED the connection to Redis was closed here);");
}
END_TEST

START_TEST(reply_nested_too_deep_loses_the_connection_which_comes_back)
{
    server_start("--appendonly", "no");
    connect_to_server("");
    stop_at_ups = 2;
    redis_cmd(conn, on_reply, NULL, "EVAL", "return {{{{{{{1}}}}}}}", "0", NULL);
    redis_cmd(conn, on_reply, NULL, "EVAL", "return {{{{{{{{{1}}}}}}}}}", "0", NULL);
    redis_cmd(conn, on_reply, NULL, "PING", NULL);
    loop_run();
    ck_assert_str_eq(seen.p, "[[[[[[[1 ] ] ] ] ] ] ];"
                             "(ERR_REDIS Redis sent what cannot be read: "
                             "No support for nested multi bulk replies with depth > 7);"
                             "(ERR_REDIS Redis sent what cannot be read: "
                             "No support for nested multi bulk replies with depth > 7);");
}
END_TEST

START_TEST(password_and_database_of_the_url_are_used)
{
    server_start("--requirepass", "pass word");
    char *url = mem_format("unix://:pass%%20word@%s/r.sock?db=3", dir);
    conn = open_url(url);
    mem_free(url);
    stop_at_ups = 1;
    loop_run();
    redis_cmd(conn, NULL, NULL, "SET", "k", "v", NULL);
    redis_cmd(conn, NULL, NULL, "SELECT", "0", NULL);
    redis_cmd(conn, on_reply, NULL, "EXISTS", "k", NULL);
    redis_cmd(conn, NULL, NULL, "SELECT", "3", NULL);
    redis_cmd(conn, on_reply, LAST, "EXISTS", "k", NULL);
    loop_run();
    ck_assert_str_eq(seen.p, "0;1;");
}
END_TEST

static void stop_when_refused(void *arg)
{
    (void)arg;
    if (strstr(redis_trouble(conn), "refused") != NULL)
        loop_stop();
}

START_TEST(wrong_password_is_told_as_the_trouble)
{
    server_start("--requirepass", "right one");
    char *url = mem_format("unix://:wrong@%s/r.sock", dir);
    conn = open_url(url);
    mem_free(url);
    struct timer *t = timer_new(stop_when_refused, NULL);
    timer_every(t, 5);
    loop_run();
    ck_assert_str_eq(redis_trouble(conn),
                     "Redis refused the connection: WRONGPASS invalid username-password pair or "
                     "user is disabled.");
    ck_assert_int_eq(ups, 0);
    timer_free(t);
}
END_TEST

START_TEST(socket_path_longer_than_a_socket_address_works)
{
    char *rest = dir + strlen(dir);
    char *root = mem_strdup(dir);
    static char deep[200];
    memset(deep, 'd', 150);
    char *path = mem_format("%s/%s", dir, deep);
    char *make = mem_format("mkdir %s && ln -s %s %s/link", path, path, dir);
    ck_assert_int_eq(system(make), 0);
    snprintf(rest, sizeof dir - strlen(dir), "/link");
    server_start("--appendonly", "no"); /* its directory is the deep one */
    memcpy(dir, root, strlen(root) + 1);
    char *url = mem_format("unix://%s/r.sock", path);
    conn = open_url(url);
    stop_at_ups = 1;
    loop_run();
    ck_assert(redis_up(conn));
    mem_free(root);
    mem_free(path);
    mem_free(make);
    mem_free(url);
}
END_TEST

/* A listening socket that greets each connection with the next of its texts. */
static struct {
    int fd;
    struct io *io;
    const char *const *texts;
    int peers[8];
    size_t n;
} fake;

static void on_peer(void *arg, int events)
{
    (void)arg;
    (void)events;
    int fd = accept(fake.fd, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    const char *text = fake.texts[fake.n];
    ck_assert_ptr_nonnull(text);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    fake.peers[fake.n++] = fd;
    if (fake.texts[fake.n] != NULL)
        shutdown(fd, SHUT_WR);
}

static int fake_start(const char *const *texts)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    fake.texts = texts;
    fake.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fake.fd, (struct sockaddr *)&a, n), 0);
    ck_assert_int_eq(listen(fake.fd, 8), 0);
    ck_assert_int_eq(getsockname(fake.fd, (struct sockaddr *)&a, &n), 0);
    fake.io = io_new(fake.fd, on_peer, NULL);
    io_want(fake.io, IO_READ);
    return ntohs(a.sin_port);
}

static void fake_stop(void)
{
    io_free(fake.io);
    close(fake.fd);
    for (size_t i = 0; i < fake.n; i++)
        close(fake.peers[i]);
}

/* All but the last of the texts are followed by an end of file. */
START_TEST(server_that_is_not_ready_or_breaks_the_protocol_is_tried_again)
{
    static const char *const texts[] = {
        "-ERR max number of clients reached\r\n",
        "+OK\r\n-LOADING Redis is loading the dataset in memory\r\n",
        "HTTP/1.1 400 Bad Request\r\n",
        "+O",
        "+OK\r\n+PONG\r\n",
        NULL,
    };
    char *url = mem_format("redis://127.0.0.1:%d", fake_start(texts));
    conn = open_url(url);
    stop_at_ups = 1;
    loop_run();
    ck_assert_uint_eq(fake.n, 5);
    ck_assert_int_eq(ups, 1);
    ck_assert_int_eq(downs, 0);
    mem_free(url);
    fake_stop();
}
END_TEST

START_TEST(reply_that_nobody_asked_for_loses_the_connection)
{
    static const char *const texts[] = {"+OK\r\n+PONG\r\n+SURPRISE\r\n", "+OK\r\n+PONG\r\n", NULL};
    char *url = mem_format("redis://127.0.0.1:%d", fake_start(texts));
    conn = open_url(url);
    stop_at_ups = 2;
    loop_run();
    ck_assert_int_eq(downs, 1);
    mem_free(url);
    fake_stop();
}
END_TEST

static void stop_when_trouble(void *arg)
{
    if (strstr(redis_trouble(conn), arg) != NULL)
        loop_stop();
}

START_TEST(unknown_host_is_told_as_the_trouble)
{
    static char part[] = "cannot find the Redis host no.such.host.invalid: ";
    conn = open_url("redis://no.such.host.invalid");
    timer_every(timer_new(stop_when_trouble, part), 5);
    loop_run();
}
END_TEST

START_TEST(refused_port_is_told_as_the_trouble)
{
    static const char *const texts[] = {NULL};
    int port = fake_start(texts);
    fake_stop();
    char *url = mem_format("redis://[::ffff:127.0.0.1]:%d", port);
    char *part = mem_format("cannot reach Redis at ::ffff:127.0.0.1:%d: Connection refused", port);
    conn = open_url(url);
    timer_every(timer_new(stop_when_trouble, part), 5);
    loop_run();
    mem_free(url);
    mem_free(part);
}
END_TEST

static const struct {
    const char *url, *unix_path, *host;
    int port, db;
    const char *user, *password;
} good[] = {
    {"redis://h", NULL, "h", 6379, 0, NULL, NULL},
    {"redis://h/", NULL, "h", 6379, 0, NULL, NULL},
    {"redis://h:1/2", NULL, "h", 1, 2, NULL, NULL},
    {"redis://", NULL, "127.0.0.1", 6379, 0, NULL, NULL},
    {"redis://:p@h", NULL, "h", 6379, 0, NULL, "p"},
    {"redis://p@h", NULL, "h", 6379, 0, NULL, "p"},
    {"redis://u:p%40:@h:65535", NULL, "h", 65535, 0, "u", "p@:"},
    {"redis://u:p@q@h", NULL, "h", 6379, 0, "u", "p@q"},
    {"redis://[::1]:7/1", NULL, "::1", 7, 1, NULL, NULL},
    {"redis://[fe80::1]", NULL, "fe80::1", 6379, 0, NULL, NULL},
    {"unix:///run/r.sock", "/run/r.sock", NULL, 0, 0, NULL, NULL},
    {"unix:///a%20b?db=15", "/a b", NULL, 0, 15, NULL, NULL},
    {"unix://u:p@/r.sock", "/r.sock", NULL, 0, 0, "u", "p"},
};

static void same(const char *got, const char *want)
{
    if (want == NULL)
        ck_assert_ptr_null(got);
    else
        ck_assert_pstr_eq(got, want);
}

START_TEST(urls_are_taken_apart)
{
    struct redis_url u;
    struct err e;
    ck_assert_msg(redis_url_parse(good[_i].url, &u, &e), "%s: %s", good[_i].url, e.text);
    same(u.unix_path, good[_i].unix_path);
    same(u.host, good[_i].host);
    same(u.user, good[_i].user);
    same(u.password, good[_i].password);
    ck_assert_int_eq(u.port, good[_i].port);
    ck_assert_int_eq(u.db, good[_i].db);
    redis_url_finish(&u);
}
END_TEST

static const char *const bad[] = {
    "",
    "localhost:6379",
    "http://secret@h",
    "rediss://:secret@h",
    "redis://:secret@h:0",
    "redis://:secret@h:65536",
    "redis://:secret@h:6379x",
    "redis://:secret@h:",
    "redis://:secret@h/x",
    "redis://:secret@h/-1",
    "redis://:secret@h/1/2",
    "redis://:secret@h?db=1",
    "redis://:secret%4@h",
    "redis://:secret%00@h",
    "redis://secret:@h",
    "redis://:secret@[::1",
    "redis://:secret@[::1]6379",
    "unix://",
    "unix:///",
    "unix://secret/r.sock",
    "unix:///r.sock?base=secret",
    "unix:///r.sock?db=secret",
};

START_TEST(malformed_urls_are_refused_without_repeating_them)
{
    struct redis_url u;
    struct err e;
    ck_assert_msg(!redis_url_parse(bad[_i], &u, &e), "%s", bad[_i]);
    ck_assert_int_eq(e.code, ERR_CONFIG);
    ck_assert_ptr_null(strstr(e.text, "secret"));
    ck_assert_ptr_null(u.password);
}
END_TEST

Suite *redis_suite(void)
{
    Suite *s = suite_create("redis");
    TCase *u = tcase_create("url");
    tcase_add_loop_test(u, urls_are_taken_apart, 0, sizeof good / sizeof good[0]);
    tcase_add_loop_test(u, malformed_urls_are_refused_without_repeating_them, 0,
                        sizeof bad / sizeof bad[0]);
    suite_add_tcase(s, u);
    TCase *t = tcase_create("connection");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, replies_come_in_order_and_keep_their_types);
    tcase_add_test(t, errors_of_the_server_get_their_code_from_the_first_word);
    tcase_add_test(t, a_reply_that_is_not_there_is_a_nil);
    tcase_add_test(t, strings_that_are_numbers_read_as_integers);
    tcase_add_test(t, big_and_binary_values_pass_unchanged);
    tcase_add_test(t, command_may_have_thousands_of_arguments);
    tcase_add_test(t, command_while_it_is_down_fails_at_the_next_turn);
    tcase_add_test(t, killed_server_fails_each_command_once_and_the_connection_comes_back);
    tcase_add_test(t, subscription_is_taken_up_again_after_the_server_came_back);
    tcase_add_test(t, subscription_on_a_connection_that_is_up_is_told_by_a_second_up);
    tcase_add_test(t, cut_in_the_middle_of_a_load_fires_each_callback_exactly_once);
    tcase_add_test(t, closing_cancels_the_commands_under_way);
    tcase_add_test(t, connection_may_be_closed_in_a_callback_of_its_own);
    tcase_add_test(t, reply_nested_too_deep_loses_the_connection_which_comes_back);
    tcase_add_test(t, password_and_database_of_the_url_are_used);
    tcase_add_test(t, wrong_password_is_told_as_the_trouble);
    tcase_add_test(t, socket_path_longer_than_a_socket_address_works);
    tcase_add_test(t, server_that_is_not_ready_or_breaks_the_protocol_is_tried_again);
    tcase_add_test(t, reply_that_nobody_asked_for_loses_the_connection);
    tcase_add_test(t, unknown_host_is_told_as_the_trouble);
    tcase_add_test(t, refused_port_is_told_as_the_trouble);
    suite_add_tcase(s, t);
    return s;
}
