/* SPDX-License-Identifier: Apache-2.0 */
/* The talk with a mail server, once net/httpc.c has connected: one command, one answer, until the server has taken the responsibility. Then
 * QUIT is said and nobody waits for the answer to it.
 *
 * A mail that some of its recipients may have goes to these: one dead address among several must not keep a notice from the others.
 * Nothing of a message can end it early: each line break in it, bare ones too, becomes CRLF, and a dot behind it is doubled. */
#include "net/mail.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/loop.h"

enum { ANSWER_MAX = 65536, SAID_MAX = 200 };

enum state { DIALLING, SENDER, RECIPIENT, DATA, BODY };

struct mail_call {
    enum state state;
    struct httpc_call *line;
    struct io *io; /* NULL: not connected yet */
    struct timer *timer;
    int64_t deadline_us;
    mail_fn fn;
    void *arg;
    char *from;
    char **to;
    size_t at; /* the recipient that was named last */
    size_t taken;
    bool put_off; /* some recipient was refused by a 4xx */
    bool cancelled;
    bool over;
    struct buf message; /* stuffed */
    struct buf out;
    struct str rest; /* of out: what is still to be written */
    struct buf in;
    struct buf said;
    struct buf refused;
};

static void end(struct mail_call *m, const struct mail_result *r, const struct err *e)
{
    m->over = true;
    m->fn(m->arg, r, e);
    io_free(m->io);
    timer_free(m->timer);
    if (m->io != NULL)
        httpc_hang_up(m->line);
    mem_free(m->from);
    for (size_t i = 0; m->to[i] != NULL; i++)
        mem_free(m->to[i]);
    mem_free(m->to);
    buf_finish(&m->message);
    buf_finish(&m->out);
    buf_finish(&m->in);
    buf_finish(&m->said);
    buf_finish(&m->refused);
    loop_free_later(m);
}

static void end_err(struct mail_call *m, enum err_code code, const char *what)
{
    struct err e;
    err_fail(&e, code, "%s %s%s%s", httpc_host(m->line), what, m->said.n != 0 ? ": " : "",
             m->said.n != 0 ? m->said.p : "");
    end(m, NULL, &e);
}

/* The first digit of an answer that isn't a yes says whether a later try may help. */
static void end_refused(struct mail_call *m)
{
    if (m->said.p[0] == '4' || m->put_off)
        end_err(m, ERR_UNAVAILABLE, "put the mail off");
    else
        end_err(m, ERR_FORBIDDEN, "refused the mail");
}

static void write_on(struct mail_call *m)
{
    struct err e;
    if (!httpc_write(m->line, &m->rest, &e))
        end(m, NULL, &e);
    else
        io_want(m->io, IO_READ | (m->rest.n != 0 ? IO_WRITE : 0));
}

static void say(struct mail_call *m, enum state next, const char *command, const char *address)
{
    m->state = next;
    buf_clear(&m->out);
    buf_puts(&m->out, command);
    if (address != NULL)
        buf_printf(&m->out, "<%s>", address);
    buf_puts(&m->out, "\r\n");
    m->rest = buf_view(&m->out);
    write_on(m);
}

static void succeed(struct mail_call *m)
{
    struct str quit = STR("QUIT\r\n");
    struct err ignored;
    (void)!httpc_write(m->line, &quit, &ignored);
    struct mail_result r = {buf_view(&m->said), buf_view(&m->refused)};
    end(m, &r, NULL);
}

static void note_recipient(struct mail_call *m, char digit)
{
    if (digit == '2') {
        m->taken++;
        return;
    }
    m->put_off = m->put_off || digit == '4';
    buf_printf(&m->refused, "%s\t%s\n", m->to[m->at], m->said.p);
}

static void next_recipient(struct mail_call *m)
{
    if (m->to[m->at] != NULL)
        say(m, RECIPIENT, "RCPT TO:", m->to[m->at]);
    else if (m->taken != 0)
        say(m, DATA, "DATA", NULL);
    else
        end_refused(m);
}

/* A whole answer stands in m->said. */
static void on_answer(struct mail_call *m)
{
    char digit = m->said.p[0];
    switch (m->state) {
    case DIALLING: break; /* not ours to hear */
    case SENDER:
        if (digit == '2')
            next_recipient(m);
        else
            end_refused(m);
        break;
    case RECIPIENT:
        note_recipient(m, digit);
        m->at++;
        next_recipient(m);
        break;
    case DATA:
        m->put_off = false;
        if (digit != '3') {
            end_refused(m);
            break;
        }
        m->state = BODY;
        m->rest = buf_view(&m->message);
        write_on(m);
        break;
    case BODY:
        if (digit == '2')
            succeed(m);
        else
            end_refused(m);
        break;
    }
}

/* Takes the last line of an answer into m->said: of several lines it is the one without a hyphen. */
static bool take_answer(struct mail_call *m)
{
    const char *lf;
    while (m->in.n != 0 && (lf = memchr(m->in.p, '\n', m->in.n)) != NULL) {
        size_t n = (size_t)(lf - m->in.p) + 1;
        struct str line = str_trim((struct str){m->in.p, n});
        bool last = line.n < 4 || line.p[3] != '-';
        if (last) {
            buf_clear(&m->said);
            buf_puts(&m->said, line.n == 0 ? "(an empty line)" : "");
            for (size_t i = 0; i < line.n && i < SAID_MAX; i++) /* it goes into errors */
                buf_char(&m->said, line.p[i] >= ' ' && line.p[i] < 0x7f ? line.p[i] : '?');
        }
        buf_drop(&m->in, n);
        if (last)
            return true;
    }
    return false;
}

static void on_io(void *arg, int events)
{
    struct mail_call *m = arg;
    struct err e;
    if (m->cancelled)
        return;
    if ((events & IO_WRITE) != 0 && m->rest.n != 0) {
        write_on(m);
        if (m->over)
            return;
    }
    bool alive = httpc_read(m->line, &m->in, &e);
    while (!m->over && take_answer(m))
        on_answer(m);
    if (m->over)
        return;
    if (!alive)
        end(m, NULL, &e);
    else if (m->in.n > ANSWER_MAX)
        end_err(m, ERR_UNAVAILABLE, "talks without end");
}

static void on_time(void *arg)
{
    struct mail_call *m = arg;
    buf_clear(&m->said);
    end_err(m, ERR_TIMEOUT, "did not answer in time");
}

static void on_line(void *arg, const struct httpc_response *r, const struct err *e)
{
    (void)r;
    struct mail_call *m = arg;
    if (e != NULL) {
        end(m, NULL, e);
        return;
    }
    m->io = io_new(httpc_fd(m->line), on_io, m);
    if (m->cancelled)
        return; /* on_cancel follows */
    int64_t left_ms = (m->deadline_us - clock_mono_us()) / 1000;
    timer_arm(m->timer, left_ms > 1 ? left_ms : 1);
    say(m, SENDER, "MAIL FROM:", m->from);
}

static void stuff(struct buf *out, struct str s)
{
    buf_reserve(out, s.n + s.n / 64 + 8);
    bool at_start = true;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\r' || c == '\n') {
            if (c == '\r' && i + 1 < s.n && s.p[i + 1] == '\n')
                i++;
            buf_puts(out, "\r\n");
            at_start = true;
            continue;
        }
        if (at_start && c == '.')
            buf_char(out, '.');
        at_start = false;
        buf_char(out, c);
    }
    buf_puts(out, at_start ? ".\r\n" : "\r\n.\r\n");
}

bool mail_is_address(struct str s)
{
    const char *at = s.n == 0 ? NULL : memrchr(s.p, '@', s.n);
    if (at == NULL || at == s.p || at == s.p + s.n - 1 || s.n > 254)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || strchr("<>()\",;:\\", s.p[i]) != NULL)
            return false;
    }
    return memchr(s.p, '@', s.n) == at;
}

static bool good_addresses(const struct mail *q)
{
    if (!mail_is_address(str_of(q->from)) || q->to[0] == NULL)
        return false;
    for (size_t i = 0; q->to[i] != NULL; i++) {
        if (!mail_is_address(str_of(q->to[i])))
            return false;
    }
    return true;
}

static void on_bad_address(void *arg)
{
    struct mail_call *m = arg;
    struct err e;
    err_fail(&e, ERR_BAD_INPUT, "an address of the mail is malformed");
    end(m, NULL, &e);
}

struct mail_call *mail_send(const struct mail *q, mail_fn fn, void *arg)
{
    struct mail_call *m = mem_new(struct mail_call);
    size_t n = 0;
    while (q->to[n] != NULL)
        n++;
    m->fn = fn;
    m->arg = arg;
    m->from = mem_strdup(q->from);
    m->to = mem_zero(n + 1, sizeof(char *));
    for (size_t i = 0; i < n; i++)
        m->to[i] = mem_strdup(q->to[i]);
    m->deadline_us = clock_mono_us() + q->server.timeout_ms * 1000;
    m->timer = timer_new(on_time, m);
    stuff(&m->message, q->message);
    if (good_addresses(q))
        m->line = httpc_dial(&q->server, on_line, m);
    else
        loop_defer(on_bad_address, m);
    return m;
}

static void on_cancel(void *arg)
{
    struct mail_call *m = arg;
    struct err e;
    if (m->over || m->io == NULL)
        return; /* it ends by the line's callback */
    err_fail(&e, ERR_CANCELLED, "the mail was cancelled");
    end(m, NULL, &e);
}

void mail_cancel(struct mail_call *m)
{
    if (m->cancelled || m->over)
        return;
    m->cancelled = true;
    if (m->line != NULL)
        httpc_cancel(m->line);
    loop_defer(on_cancel, m);
}
