/* SPDX-License-Identifier: Apache-2.0 */
/* What an answer means for trying again is the same for all three: 408, 425, 429 and 5xx ask for it, other 4xx say that the request is wrong
 * and would be wrong again, with one exception: GitHub says 403 also when it has had too many requests.
 *
 * Addresses of webhooks are secrets as a whole (Slack's, and most others with a token in the path), so results and errors name
 * scheme and host alone. Repository, commit and issue may come from a payload and stand in a path: only what GitHub itself takes for one is let through. */
#include "work/deliver_post.h"

#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/mem.h"
#include "work/lines.h"

enum {
    SLACK_MAX = 3900, /* of 4000 characters that Slack shows without folding */
    COMMENT_MAX = 60000,
    STATUS_MAX = 135, /* characters at GitHub: 140 */
    SHOWN = 200,
};

static void add_header(struct post *p, char *line)
{
    size_t n = 0;
    while (p->headers[n] != NULL)
        n++;
    if (n < POST_HEADERS)
        p->headers[n] = line;
    else
        mem_free(line);
}

void post_finish(struct post *p)
{
    for (size_t i = 0; p->headers[i] != NULL; i++)
        mem_free(p->headers[i]);
    mem_free(p->url);
    mem_free(p->who);
    mem_free(p->hint);
    mem_free(p->result);
    mem_free(p->look);
    mem_free(p->mark);
    buf_finish(&p->body);
    *p = (struct post){0};
}

/* Of a URL only what is no secret. */
static char *scheme_and_host(const char *url)
{
    const char *host = strstr(url, "://");
    host = host == NULL ? url : host + 3;
    size_t n = strcspn(host, "/?#");
    const char *at = memrchr(host, '@', n);
    const char *from = at == NULL ? host : at + 1;
    return mem_format("%.*s%.*s", (int)(host - url), url, (int)(n - (size_t)(from - host)), from);
}

/* The notice's own text, or the one that the delivery asks for. */
static bool wanted_text(struct buf *out, const struct deliver_what *w, struct err *e)
{
    if (w->to->text != NULL)
        return notice_value(out, w->run, w->to->text, e);
    buf_str(out, w->text);
    return true;
}

/* Slack. */

static void escape_mrkdwn(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        switch (s.p[i]) {
        case '&': buf_puts(out, "&amp;"); break;
        case '<': buf_puts(out, "&lt;"); break;
        case '>': buf_puts(out, "&gt;"); break;
        default: buf_char(out, s.p[i]);
        }
    }
}

bool post_slack(struct post *p, const struct deliver_what *w, const struct settings *set,
                struct err *e)
{
    if (set->slack_webhook == NULL || set->slack_webhook[0] == '\0')
        return err_fail(e, ERR_CONFIG,
                        "no Slack webhook is set: set HOOKMESH_SLACK_WEBHOOK, or "
                        "HOOKMESH_SLACK_WEBHOOK_FILE, to the address that Slack gave");
    struct buf text = {0};
    struct buf safe = {0};
    if (!wanted_text(&text, w, e)) {
        buf_finish(&text);
        return false;
    }
    notice_cut(&text, SLACK_MAX);
    if (w->to->text == NULL) {
        buf_char(&safe, '*');
        escape_mrkdwn(&safe, w->subject);
        buf_puts(&safe, "*\n");
    }
    escape_mrkdwn(&safe, buf_view(&text));
    buf_char(&p->body, '{');
    buf_json_field(&p->body, "text", buf_view(&safe));
    if (w->to->to != NULL)
        buf_json_field(&p->body, "channel", str_of(w->to->to));
    buf_json_field_bool(&p->body, "unfurl_links", false);
    buf_char(&p->body, '}');
    p->url = mem_strdup(set->slack_webhook);
    p->who = mem_strdup("Slack");
    p->hint = mem_strdup("look at HOOKMESH_SLACK_WEBHOOK and at the channel");
    add_header(p, mem_strdup("Content-Type: application/json; charset=utf-8"));
    buf_clear(&text);
    buf_json_field(&text, "sent", STR("slack"));
    if (w->to->to != NULL)
        buf_json_field(&text, "channel", str_of(w->to->to));
    p->result = buf_take(&text);
    buf_finish(&safe);
    return true;
}

/* Webhooks of our own, signed as Standard Webhooks has it. */

static bool decode_key(struct buf *key, const char *secret, struct err *e)
{
    if (strncmp(secret, "whsec_", 6) != 0) {
        buf_puts(key, secret);
        return true;
    }
    if (!buf_base64_decode(key, str_of(secret + 6)) || key->n == 0)
        return err_fail(e, ERR_CONFIG, "what stands behind whsec_ in the secret is no base64");
    return true;
}

static bool sign(struct post *p, const struct deliver_what *w, int64_t wall_us, struct err *e)
{
    const struct delivery *d = w->to;
    if (d->secret == NULL || d->secret[0] == '\0') {
        if (d->secret_name == NULL)
            return true;
        return err_fail(e, ERR_CONFIG, "there is no secret to sign with: set %s or %s_FILE",
                        d->secret_name, d->secret_name);
    }
    struct buf key = {0};
    struct buf head = {0};
    unsigned char sum[CRYPTO_SHA256];
    bool ok = decode_key(&key, d->secret, e);
    if (ok) {
        buf_printf(&head, "msg_%.*s.%lld.", (int)w->id.n, w->id.p, (long long)(wall_us / 1000000));
        const struct str parts[] = {buf_view(&head), buf_view(&p->body)};
        crypto_hmac_once(buf_view(&key), 2, parts, sum);
        buf_clear(&head);
        buf_puts(&head, "webhook-signature: v1,");
        buf_base64(&head, sum, sizeof sum);
        add_header(p, buf_take(&head));
    }
    explicit_bzero(key.p, key.n);
    buf_finish(&key);
    buf_finish(&head);
    return ok;
}

bool post_http(struct post *p, const struct deliver_what *w, int64_t wall_us, struct err *e)
{
    struct buf text = {0};
    buf_char(&p->body, '{');
    buf_json_field(&p->body, "type", w->type);
    clock_rfc3339(&text, w->run->finished_ms > 0 ? w->run->finished_ms * 1000 : wall_us);
    buf_json_field(&p->body, "timestamp", buf_view(&text));
    buf_json_field_raw(&p->body, "data", w->data);
    buf_char(&p->body, '}');
    buf_finish(&text);
    p->url = mem_strdup(w->to->to);
    p->who = scheme_and_host(w->to->to);
    bool typed = false;
    for (size_t i = 0; w->to->headers != NULL && w->to->headers[i] != NULL; i++) {
        typed = typed || strncasecmp(w->to->headers[i], "content-type:", 13) == 0;
        add_header(p, mem_strdup(w->to->headers[i]));
    }
    if (!typed)
        add_header(p, mem_strdup("Content-Type: application/json"));
    add_header(p, mem_format("webhook-id: msg_%.*s", (int)w->id.n, w->id.p));
    add_header(p, mem_format("webhook-timestamp: %lld", (long long)(wall_us / 1000000)));
    if (!sign(p, w, wall_us, e))
        return false;
    buf_json_field(&text, "sent", STR("http"));
    buf_json_field(&text, "to", str_of(p->who));
    buf_puts(&text, ",\"message_id\":\"msg_");
    buf_str(&text, w->id);
    buf_char(&text, '"');
    p->result = buf_take(&text);
    return true;
}

/* GitHub. */

static bool of_these(struct str s, const char *others, bool hex)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool digit = c >= '0' && c <= '9';
        char last = hex ? 'f' : 'z';
        bool letter = (c >= 'a' && c <= last) || (c >= 'A' && c <= last - 0x20);
        if (!digit && !letter && (c == '\0' || strchr(others, c) == NULL))
            return false;
    }
    return s.n != 0;
}

static bool is_repository(struct str s)
{
    struct str name = s;
    struct str owner = str_split(&name, '/');
    return name.p != NULL && of_these(owner, "-_", false) && of_these(name, "-_.", false) &&
           !str_is(name, ".") && !str_is(name, "..") && s.n <= 140;
}

static bool is_commit(struct str s)
{
    return (s.n == 40 || s.n == 64) && of_these(s, "", true);
}

static bool is_number(struct str s)
{
    uint64_t n;
    return s.n <= 18 && str_u64(s, &n) && n > 0;
}

/* The value of a field, which must be what `good` takes. */
static bool field(struct buf *out, const struct deliver_what *w, const char *text, const char *what,
                  bool (*good)(struct str s), struct err *e)
{
    if (!notice_value(out, w->run, text, e))
        return false;
    if (good(buf_view(out)))
        return true;
    struct buf shown = {0};
    notice_line(&shown, buf_view(out), 80);
    err_fail(e, ERR_BAD_INPUT, "\"%s\" is no %s", shown.n != 0 ? shown.p : "", what);
    buf_finish(&shown);
    return false;
}

static bool make_status(struct post *p, const struct deliver_what *w, const struct settings *set,
                        struct err *e)
{
    struct buf text = {0};
    struct buf line = {0};
    if (w->to->text != NULL && !notice_value(&text, w->run, w->to->text, e)) {
        buf_finish(&text);
        return false;
    }
    if (w->to->text == NULL)
        buf_str(&text, w->subject);
    notice_line(&line, buf_view(&text), STATUS_MAX);
    buf_char(&p->body, '{');
    buf_json_field(&p->body, "state", notice_succeeded(w->run) ? STR("success") : STR("failure"));
    buf_json_field(&p->body, "description", buf_view(&line));
    buf_clear(&line);
    if (w->to->context != NULL)
        buf_puts(&line, w->to->context);
    else
        buf_printf(&line, "hookmesh/%.*s", (int)w->run->job.n, w->run->job.p);
    buf_json_field(&p->body, "context", buf_view(&line));
    buf_clear(&line);
    notice_link(&line, set, w->run->run);
    buf_json_field(&p->body, "target_url", buf_view(&line));
    buf_char(&p->body, '}');
    buf_finish(&text);
    buf_finish(&line);
    return true;
}

static bool make_comment(struct post *p, const struct deliver_what *w, const char *comments,
                         struct err *e)
{
    struct buf text = {0};
    struct buf since = {0};
    if (!wanted_text(&text, w, e)) {
        buf_finish(&text);
        return false;
    }
    notice_cut(&text, COMMENT_MAX);
    p->mark = mem_format("<!-- hookmesh %.*s -->", (int)w->id.n, w->id.p);
    buf_printf(&text, "\n\n%s", p->mark);
    buf_char(&p->body, '{');
    buf_json_field(&p->body, "body", buf_view(&text));
    buf_char(&p->body, '}');
    buf_finish(&text);
    if (w->attempt > 1) { /* an earlier attempt may have gone through though nobody heard of it */
        clock_rfc3339(&since, (w->run->finished_ms - 60000) * 1000);
        p->look = mem_format("%s?per_page=100&since=%s", comments, since.p);
        buf_finish(&since);
    }
    return true;
}

static bool make_github(struct post *p, const struct deliver_what *w, const struct settings *set,
                        struct buf *repository, struct buf *at, struct err *e)
{
    const struct delivery *d = w->to;
    bool comment = d->issue != NULL;
    if (!field(repository, w, d->to, "repository; it looks like owner/name", is_repository, e) ||
        !field(at, w, comment ? d->issue : d->sha,
               comment ? "number of an issue or pull request" : "commit; it is the whole SHA",
               comment ? is_number : is_commit, e))
        return false;
    size_t n = strlen(set->github_api);
    while (n != 0 && set->github_api[n - 1] == '/')
        n--;
    p->url = comment ? mem_format("%.*s/repos/%s/issues/%s/comments", (int)n, set->github_api,
                                  repository->p, at->p)
                     : mem_format("%.*s/repos/%s/statuses/%s", (int)n, set->github_api,
                                  repository->p, at->p);
    return comment ? make_comment(p, w, p->url, e) : make_status(p, w, set, e);
}

bool post_github(struct post *p, const struct deliver_what *w, const struct settings *set,
                 struct err *e)
{
    if (set->github_token == NULL || set->github_token[0] == '\0')
        return err_fail(e, ERR_CONFIG,
                        "there is no token for GitHub: set HOOKMESH_GITHUB_TOKEN "
                        "or HOOKMESH_GITHUB_TOKEN_FILE");
    struct buf repository = {0};
    struct buf at = {0};
    bool ok = make_github(p, w, set, &repository, &at, e);
    if (ok) {
        struct buf text = {0};
        buf_json_field(&text, "sent", STR("github"));
        buf_json_field(&text, "to", buf_view(&repository));
        buf_json_field(&text, w->to->issue != NULL ? "issue" : "sha", buf_view(&at));
        p->result = buf_take(&text);
        p->who = mem_strdup("GitHub");
        p->hint = mem_format("look at HOOKMESH_GITHUB_TOKEN: it must be allowed to write %s in %s",
                             w->to->issue != NULL ? "issues or pull requests" : "commit statuses",
                             repository.p);
        add_header(p, mem_format("Authorization: Bearer %s", set->github_token));
        add_header(p, mem_strdup("Accept: application/vnd.github+json"));
        add_header(p, mem_strdup("X-GitHub-Api-Version: 2022-11-28"));
        add_header(p, mem_strdup("Content-Type: application/json"));
    }
    buf_finish(&repository);
    buf_finish(&at);
    return ok;
}

/* Answers. */

enum claim_outcome post_judge(const struct post *p, int status, struct str body,
                              int64_t retry_after_ms, struct buf *error)
{
    if (status >= 200 && status <= 299)
        return CLAIM_OK;
    buf_printf(error, "%s answered %d", p->who, status);
    if (status >= 300 && status <= 399)
        buf_puts(error, ", a redirect, and none is followed: write the address that it leads to");
    struct str text = str_trim(body);
    if (text.n != 0) {
        buf_puts(error, ": ");
        lines_printable(error, text, SHOWN);
    }
    bool too_many =
        status == 403 &&
        (retry_after_ms >= 0 || (text.n != 0 && memmem(text.p, text.n, "rate limit", 10) != NULL));
    if (status == 408 || status == 425 || status == 429 || status >= 500 || too_many)
        return CLAIM_RETRY;
    if (p->hint != NULL)
        buf_printf(error, "; %s", p->hint);
    return CLAIM_FAIL;
}
