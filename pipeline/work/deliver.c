/* SPDX-License-Identifier: Apache-2.0 */
/* A delivery is a step like others: claimed, tried again by its own retry, recorded with its run. What it waits for is one of five things (an
 * answer over HTTP, the mail server, Redis, a file, the clock), and whichever it is ends it by end(); nothing that comes after that finds it.
 *
 * At least once is what can be had: a server that dies between sending and committing sends again. So each notice has an id that follows from run, stage and
 * version: the mail's Message-ID, the webhook-id, the mark in a comment. Receivers know a repeat by it. */
#include "work/deliver.h"

#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/kv.h"
#include "net/httpc.h"
#include "net/loop.h"
#include "net/mail.h"
#include "work/deliver_mail.h"
#include "work/deliver_post.h"
#include "work/runner.h"

enum { TAKEN_MAX = 1000 };

/* "ID<tab>ADDRESS" of recipients who have a mail that others could not have yet: they must not get it with each attempt. Forgotten when the server
 * ends; then they get it once more. */
static char *taken[TAKEN_MAX];
static size_t taken_at; /* the next to be overwritten */

struct deliver_op {
    deliver_fn fn;
    void *arg;
    struct post post;
    struct httpc_call *http;
    struct buf answer; /* its beginning */
    struct mail_call *mail;
    char *id;          /* of a mail */
    char **recipients; /* whom this attempt is for */
    struct deliver_file *file;
    struct timer *timer; /* for a file on a disk that hangs */
    bool asked;          /* Redis has it */
    bool over;
    struct buf result;          /* members of the result's JSON */
    enum claim_outcome outcome; /* of what is told at the end of the turn */
    struct buf error;
};

static void op_free(struct deliver_op *op)
{
    post_finish(&op->post);
    mem_free(op->id);
    deliver_addresses_free(op->recipients);
    timer_free(op->timer);
    buf_finish(&op->answer);
    buf_finish(&op->result);
    buf_finish(&op->error);
    loop_free_later(op);
}

/* error: without secrets from here on. */
static void end(struct deliver_op *op, enum claim_outcome outcome, const char *error,
                int64_t retry_after_ms)
{
    struct buf text = {0};
    struct buf result = {0};
    must(!op->over);
    op->over = true;
    if (outcome == CLAIM_OK) {
        buf_printf(&result, "{%s}", op->result.n != 0 ? op->result.p : "");
    } else {
        buf_puts(&text, error);
        log_redact(&text, 0);
    }
    struct deliver_end e = {outcome, buf_view(&result), text.p, retry_after_ms};
    op->fn(op->arg, &e);
    buf_finish(&text);
    buf_finish(&result);
    if (op->asked)
        return; /* Redis's answer frees it */
    op_free(op);
}

static void on_settled(void *arg)
{
    struct deliver_op *op = arg;
    if (!op->over)
        end(op, op->outcome, op->error.p, -1);
}

/* Known already, told at the end of the turn. */
static void settle(struct deliver_op *op, enum claim_outcome outcome, const char *error)
{
    op->outcome = outcome;
    buf_puts(&op->error, error);
    loop_defer(on_settled, op);
}

/* Over HTTP. */

static void on_answer_bytes(void *arg, struct str bytes)
{
    struct deliver_op *op = arg;
    size_t room = op->answer.n < POST_KEPT ? POST_KEPT - op->answer.n : 0;
    if (op->post.look != NULL)
        room = 1024 * 1024; /* comments, to be searched */
    buf_add(&op->answer, bytes.p, bytes.n < room ? bytes.n : room);
}

static void request(struct deliver_op *op, const char *url, bool body, httpc_fn fn)
{
    const struct settings *set = runner_settings();
    struct httpc_request q = {
        .method = body ? "POST" : "GET",
        .url = url,
        .headers = (const char *const *)op->post.headers,
        .body = body ? buf_view(&op->post.body) : (struct str){NULL, 0},
        .timeout_ms = set->delivery_timeout,
        .allow_private = true, /* the address stands in the configuration, not in an input */
        .on_body = on_answer_bytes,
    };
    buf_clear(&op->answer);
    op->http = httpc_send(&q, fn, op);
}

static void http_failed(struct deliver_op *op, const struct err *e)
{
    switch (e->code) {
    case ERR_CANCELLED: end(op, CLAIM_RETRY, "the server stopped meanwhile", -1); break;
    case ERR_BAD_INPUT:
    case ERR_FORBIDDEN: end(op, CLAIM_FAIL, e->text, -1); break;
    default: end(op, CLAIM_RETRY, e->text, -1);
    }
}

static void on_posted(void *arg, const struct httpc_response *r, const struct err *e)
{
    struct deliver_op *op = arg;
    struct buf error = {0};
    op->http = NULL;
    if (e != NULL) {
        http_failed(op, e);
        return;
    }
    enum claim_outcome outcome =
        post_judge(&op->post, r->status, buf_view(&op->answer), r->retry_after_ms, &error);
    buf_puts(&op->result, op->post.result);
    buf_json_field_int(&op->result, "status", r->status);
    end(op, outcome, error.p, r->retry_after_ms);
    buf_finish(&error);
}

static void post(struct deliver_op *op)
{
    request(op, op->post.url, true, on_posted);
}

/* Is the comment there already? If that cannot be known, better twice than never. */
static void on_looked(void *arg, const struct httpc_response *r, const struct err *e)
{
    struct deliver_op *op = arg;
    const char *mark = op->post.mark;
    op->http = NULL;
    if (e != NULL && e->code == ERR_CANCELLED) {
        http_failed(op, e);
        return;
    }
    mem_free(op->post.look);
    op->post.look = NULL;
    struct str found = buf_view(&op->answer);
    if (r != NULL && found.n != 0 && memmem(found.p, found.n, mark, strlen(mark)) != NULL) {
        buf_puts(&op->result, op->post.result);
        buf_json_field_bool(&op->result, "repeated", true);
        end(op, CLAIM_OK, NULL, -1);
        return;
    }
    post(op);
}

static void send_post(struct deliver_op *op, const struct deliver_what *w)
{
    const struct settings *set = runner_settings();
    struct err e;
    bool ok = w->to->kind == DELIVERY_SLACK  ? post_slack(&op->post, w, set, &e)
              : w->to->kind == DELIVERY_HTTP ? post_http(&op->post, w, clock_wall_us(), &e)
                                             : post_github(&op->post, w, set, &e);
    if (!ok)
        settle(op, CLAIM_FAIL, e.text);
    else if (op->post.look != NULL)
        request(op, op->post.look, false, on_looked);
    else
        post(op);
}

/* By mail. */

static bool has_it(const char *id, const char *address)
{
    char *key = mem_format("%s\t%s", id, address);
    bool found = false;
    for (size_t i = 0; i < TAKEN_MAX && !found; i++)
        found = taken[i] != NULL && strcmp(taken[i], key) == 0;
    mem_free(key);
    return found;
}

/* Leaves those who have none of it yet. */
static void drop_served(const char *id, char **recipients)
{
    size_t left = 0;
    for (size_t i = 0; recipients[i] != NULL; i++) {
        if (has_it(id, recipients[i]))
            mem_free(recipients[i]);
        else
            recipients[left++] = recipients[i];
    }
    recipients[left] = NULL;
}

static void note_served(const struct deliver_op *op, struct str refused)
{
    for (size_t i = 0; op->recipients[i] != NULL; i++) {
        char *line = mem_format("%s\t", op->recipients[i]);
        size_t n = strlen(line);
        bool no = false;
        for (struct str rest = refused; rest.n != 0 && !no;) {
            struct str one = str_split(&rest, '\n');
            no = one.n >= n && memcmp(one.p, line, n) == 0;
        }
        mem_free(line);
        if (no)
            continue;
        mem_free(taken[taken_at]);
        taken[taken_at] = mem_format("%s\t%s", op->id, op->recipients[i]);
        taken_at = (taken_at + 1) % TAKEN_MAX;
    }
}

void deliver_finish(void)
{
    for (size_t i = 0; i < TAKEN_MAX; i++) {
        mem_free(taken[i]);
        taken[i] = NULL;
    }
}

/* Some have it, some have not: that some have not must be seen, and trying again is for those alone who may take it later. */
static void judge_refused(struct deliver_op *op, struct str refused)
{
    struct buf error = {0};
    bool later = false;
    buf_puts(&error, "the mail went out, but not to ");
    struct str rest = refused;
    for (size_t i = 0; rest.n != 0; i++) {
        struct str said = str_split(&rest, '\n');
        struct str address = str_split(&said, '\t');
        later = later || (said.n != 0 && said.p[0] == '4');
        if (i < 5)
            buf_printf(&error, "%s%.*s (%.*s)", i == 0 ? "" : ", ", (int)address.n, address.p,
                       (int)said.n, said.p);
    }
    note_served(op, refused);
    end(op, later ? CLAIM_RETRY : CLAIM_FAIL, error.p, -1);
    buf_finish(&error);
}

static const char *mail_hint(enum err_code code)
{
    switch (code) {
    case ERR_UNAUTHORIZED: return "; look at HOOKMESH_SMTP_USER and HOOKMESH_SMTP_PASSWORD";
    case ERR_BAD_INPUT: return "; look at HOOKMESH_SMTP_URL";
    case ERR_FORBIDDEN: return "; look at the addresses, HOOKMESH_SMTP_FROM and smtp_tls";
    default: return "";
    }
}

static void on_mailed(void *arg, const struct mail_result *r, const struct err *e)
{
    struct deliver_op *op = arg;
    op->mail = NULL;
    if (e != NULL && e->code == ERR_CANCELLED) {
        end(op, CLAIM_RETRY, "the server stopped meanwhile", -1);
    } else if (e != NULL) {
        bool later = e->code == ERR_UNAVAILABLE || e->code == ERR_TIMEOUT;
        char *text = mem_format("%s%s", e->text, mail_hint(e->code));
        end(op, later ? CLAIM_RETRY : CLAIM_FAIL, text, -1);
        mem_free(text);
    } else if (r->refused.n != 0) {
        judge_refused(op, r->refused);
    } else {
        buf_json_field(&op->result, "said", r->said);
        end(op, CLAIM_OK, NULL, -1);
    }
}

/* The setting, or hookmesh at this machine. */
static char *sender(const struct settings *set)
{
    char host[256] = "";
    if (set->smtp_from[0] != '\0')
        return mem_strdup(set->smtp_from);
    gethostname(host, sizeof host - 1);
    char *from = mem_format("hookmesh@%s", host);
    if (mail_is_address(str_of(from)))
        return from;
    mem_free(from);
    return mem_strdup("hookmesh@localhost");
}

static enum httpc_tls tls_of(const struct settings *set)
{
    return strcmp(set->smtp_tls, "always") == 0  ? HTTPC_TLS_ALWAYS
           : strcmp(set->smtp_tls, "never") == 0 ? HTTPC_TLS_NEVER
                                                 : HTTPC_TLS_TRY;
}

/* The delivery's own words, else the notice's. */
static bool words_of(struct buf *out, const struct deliver_what *w, const char *own,
                     struct str otherwise, struct err *e)
{
    if (own != NULL)
        return notice_value(out, w->run, own, e);
    buf_str(out, otherwise);
    return true;
}

static bool compose(struct deliver_op *op, const struct deliver_what *w, char *const *to,
                    const char *from, struct buf *message, struct err *e)
{
    struct buf subject = {0};
    struct buf text = {0};
    struct buf id = {0};
    bool ok = words_of(&subject, w, w->to->subject, w->subject, e) &&
              words_of(&text, w, w->to->text, w->text, e);
    if (ok) {
        notice_cut(&text, (size_t)runner_settings()->delivery_max);
        const struct letter l = {from,  to,          buf_view(&subject), buf_view(&text),
                                 w->id, w->run->run, clock_wall_us()};
        ok = deliver_letter(message, &id, &l, e);
    }
    if (ok) {
        buf_json_field(&op->result, "sent", STR("email"));
        buf_json_field(&op->result, "to", str_of(w->to->to));
        buf_json_field(&op->result, "message_id", buf_view(&id));
    }
    buf_finish(&subject);
    buf_finish(&text);
    buf_finish(&id);
    return ok;
}

/* The address in "Name <address>". */
static char *envelope_of(const char *from)
{
    struct err e;
    char **one = deliver_addresses(from, &e);
    char *address = one != NULL ? mem_strdup(one[0]) : mem_strdup("");
    deliver_addresses_free(one);
    return address;
}

static void send_mail(struct deliver_op *op, const struct deliver_what *w)
{
    const struct settings *set = runner_settings();
    struct buf message = {0};
    struct err e;
    if (set->smtp_url[0] == '\0') {
        settle(op, CLAIM_FAIL,
               "no mail server is set: set HOOKMESH_SMTP_URL, to smtp://HOST:587 for example");
        return;
    }
    char *from = sender(set);
    char **to = deliver_addresses(w->to->to, &e);
    if (to == NULL || !compose(op, w, to, from, &message, &e)) {
        settle(op, CLAIM_FAIL, e.text);
    } else {
        char *envelope = envelope_of(from);
        op->id = mem_dup(w->id.p, w->id.n);
        op->recipients = to;
        drop_served(op->id, to);
        const struct mail m = {
            .server = {set->smtp_url, tls_of(set), set->smtp_user, set->smtp_password,
                       set->delivery_timeout},
            .from = envelope,
            .to = (const char *const *)to,
            .message = buf_view(&message),
        };
        if (to[0] != NULL)
            op->mail = mail_send(&m, on_mailed, op);
        else
            settle(op, CLAIM_OK, ""); /* those who had it not yet are no longer named */
        mem_free(envelope);
        to = NULL;
    }
    deliver_addresses_free(to);
    mem_free(from);
    buf_finish(&message);
}

/* To a key. */

static void on_put(void *arg, size_t n, const int64_t *versions, const struct err *e)
{
    struct deliver_op *op = arg;
    op->asked = false;
    if (op->over) {
        op_free(op);
    } else if (e != NULL) {
        bool later = err_retryable(e->code);
        end(op, later ? CLAIM_RETRY : CLAIM_FAIL, e->text, -1);
    } else {
        buf_json_field_int(&op->result, "version", n == 1 ? versions[0] : 0);
        end(op, CLAIM_OK, NULL, -1);
    }
}

static void send_key(struct deliver_op *op, const struct deliver_what *w)
{
    struct buf key = {0};
    struct err e;
    if (!template_fill(&key, str_of(w->to->to), w->match, w->run->run)) {
        settle(op, CLAIM_FAIL, "the key's name has something in braces that is not {1} or {run}");
    } else if (!key_check(buf_view(&key), (size_t)runner_settings()->key_max, &e)) {
        settle(op, CLAIM_FAIL, e.text);
    } else {
        struct str output = w->run->output.p != NULL ? w->run->output : STR("null");
        struct kv_put put = {buf_view(&key), notice_succeeded(w->run) ? output : w->data, KV_ANY};
        buf_json_field(&op->result, "sent", STR("kv"));
        buf_json_field(&op->result, "key", buf_view(&key));
        op->asked = true;
        kv_put(1, &put, on_put, op);
    }
    buf_finish(&key);
}

/* To a file. */

static void on_written(void *arg, enum claim_outcome outcome, const char *error)
{
    struct deliver_op *op = arg;
    op->file = NULL;
    end(op, outcome, error, -1);
}

static void on_file_time(void *arg)
{
    struct deliver_op *op = arg;
    deliver_file_forget(op->file);
    op->file = NULL;
    end(op, CLAIM_RETRY, "the file took longer than the setting delivery_timeout", -1);
}

static void file_content(struct buf *out, const struct deliver_what *w)
{
    bool json = str_ends(str_of(w->to->to), ".json");
    if (!notice_succeeded(w->run))
        buf_str(out, json ? w->data : w->text);
    else if (json)
        buf_str(out, w->run->output.p != NULL ? w->run->output : STR("null"));
    else
        notice_output_text(out, w->run->output);
    if (out->n != 0 && out->p[out->n - 1] != '\n')
        buf_char(out, '\n');
}

static void send_file(struct deliver_op *op, const struct deliver_what *w)
{
    struct buf path = {0};
    struct buf content = {0};
    struct err e;
    if (!deliver_file_path(&path, w->to->to, w->match, w->run->run, &e)) {
        settle(op, CLAIM_FAIL, e.text);
    } else {
        file_content(&content, w);
        buf_json_field(&op->result, "sent", STR("file"));
        buf_json_field(&op->result, "path", buf_view(&path));
        buf_json_field_int(&op->result, "bytes", (int64_t)content.n);
        op->timer = timer_new(on_file_time, op);
        timer_arm(op->timer, runner_settings()->delivery_timeout);
        op->file = deliver_file_write(path.p, w->id, w->attempt, &content, on_written, op);
    }
    buf_finish(&path);
}

struct deliver_op *deliver_send(const struct deliver_what *w, deliver_fn fn, void *arg)
{
    struct deliver_op *op = mem_new(struct deliver_op);
    op->fn = fn;
    op->arg = arg;
    switch (w->to->kind) {
    case DELIVERY_EMAIL: send_mail(op, w); break;
    case DELIVERY_SLACK:
    case DELIVERY_HTTP:
    case DELIVERY_GITHUB: send_post(op, w); break;
    case DELIVERY_KV: send_key(op, w); break;
    case DELIVERY_FILE: send_file(op, w); break;
    }
    return op;
}

void deliver_cancel(struct deliver_op *op)
{
    if (op->over)
        return;
    if (op->http != NULL) {
        httpc_cancel(op->http);
    } else if (op->mail != NULL) {
        mail_cancel(op->mail);
    } else if (op->file != NULL) {
        deliver_file_forget(op->file);
        op->file = NULL;
        settle(op, CLAIM_RETRY, "the server stopped meanwhile");
    } else if (op->asked) {
        settle(op, CLAIM_RETRY, "the server stopped meanwhile");
    } /* else it ends in this turn anyway */
}
