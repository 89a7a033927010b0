/* SPDX-License-Identifier: Apache-2.0 */
/* Where results and notices go: `output:` of a job, `notify:` of dead letters and alerts. What must be right for anything to arrive (an address, a URL, a key) is
 * checked here, because a delivery that can never work would only show after the first run. */
#include <string.h>

#include "base/mem.h"
#include "base/pattern.h"
#include "config/parts.h"

static const char *const kinds[] = {"email", "slack", "http", "kv", "file", "github", NULL};
static const char *const item_keys[] = {"email", "slack",  "http",  "kv",
                                        "file",  "github", "retry", NULL};
static const char *const email_keys[] = {"to", "subject", "text", NULL};
static const char *const slack_keys[] = {"channel", "text", NULL};
static const char *const http_keys[] = {"url",         "headers", "secret_env",
                                        "secret_file", "secret",  NULL};
static const char *const kv_keys[] = {"key", NULL};
static const char *const file_keys[] = {"path", NULL};
static const char *const github_keys[] = {"repository", "sha", "issue", "context", "text", NULL};

void delivery_finish(struct delivery *d)
{
    mem_free(d->to);
    mem_free(d->subject);
    mem_free(d->text);
    mem_free(d->secret);
    mem_free(d->secret_name);
    words_free(d->headers);
    mem_free(d->sha);
    mem_free(d->issue);
    mem_free(d->context);
}

/* A text of one line: it will stand in a header. */
static char *read_line(struct load *l, const struct node *map, const char *field)
{
    const struct node *n = node_get(map, field);
    char *text = n == NULL ? NULL : load_text(l, n, field);
    if (text != NULL && strpbrk(text, "\r\n") != NULL)
        load_fail(l, n->at, field, "has a line break in it");
    return text;
}

static char *read_text(struct load *l, const struct node *map, const char *field)
{
    const struct node *n = node_get(map, field);
    return n == NULL ? NULL : load_text(l, n, field);
}

/* Email. */

static bool is_address(struct str s)
{
    const char *at = s.n == 0 ? NULL : memchr(s.p, '@', s.n);
    if (at == NULL || at == s.p || at == s.p + s.n - 1 ||
        memchr(at + 1, '@', (size_t)(s.p + s.n - at - 1)) != NULL)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c == 0x7F || strchr("<>()[],;:\\\"", s.p[i]) != NULL)
            return false;
    }
    return s.n <= 254;
}

/* Adds "a@x.com, b@x.com" to *to. */
static void add_addresses(struct load *l, const struct node *n, const char *text, char **to)
{
    struct str rest = str_of(text);
    while (rest.p != NULL) {
        struct str one = str_trim(str_split(&rest, ','));
        if (!is_address(one)) {
            load_fail(l, n->at, "email", "\"%.*s\" is no address", one.n > 100 ? 100 : (int)one.n,
                      one.p);
            continue;
        }
        char *more =
            *to == NULL ? mem_dup(one.p, one.n) : mem_format("%s, %.*s", *to, (int)one.n, one.p);
        mem_free(*to);
        *to = more;
    }
}

static void read_addresses(struct load *l, const struct node *n, struct delivery *d)
{
    char **words = load_words(l, n, "email", true);
    for (size_t i = 0; words != NULL && words[i] != NULL; i++)
        add_addresses(l, n->type == NODE_LIST ? n->items[i] : n, words[i], &d->to);
    words_free(words);
}

static void read_email(struct load *l, const struct node *n, struct delivery *d)
{
    d->kind = DELIVERY_EMAIL;
    if (n->type != NODE_MAP) {
        read_addresses(l, n, d);
        return;
    }
    load_keys(l, n, email_keys, NULL);
    if (node_get(n, "to") != NULL)
        read_addresses(l, node_get(n, "to"), d);
    else
        load_missing(l, n, "to", "");
    d->subject = read_line(l, n, "subject");
    d->text = read_text(l, n, "text");
}

/* Slack. */

static void read_channel(struct load *l, const struct node *n, struct delivery *d)
{
    d->to = load_text(l, n, "slack");
    const char *p = d->to;
    while (p != NULL && *p != '\0' && strchr(" \t\r\n,\"<>", *p) == NULL)
        p++;
    if (p != NULL && (p == d->to || *p != '\0'))
        load_fail(l, n->at, "slack", "\"%s\" is no channel: write \"#channel\", in quotes", d->to);
}

static void read_slack(struct load *l, const struct node *n, struct delivery *d)
{
    d->kind = DELIVERY_SLACK;
    if (n->type == NODE_NULL) /* the channel of the webhook */
        return;
    if (n->type == NODE_TEXT) {
        read_channel(l, n, d);
        return;
    }
    if (!load_is(l, n, NODE_MAP, "slack"))
        return;
    load_keys(l, n, slack_keys, NULL);
    if (node_get(n, "channel") != NULL)
        read_channel(l, node_get(n, "channel"), d);
    d->text = read_text(l, n, "text");
}

/* HTTP. */

static void read_url(struct load *l, const struct node *n, struct delivery *d)
{
    d->to = load_text(l, n, "http");
    if (d->to != NULL)
        url_check(l, n, "http", d->to);
}

static void read_http(struct load *l, const struct node *n, struct delivery *d)
{
    d->kind = DELIVERY_HTTP;
    if (n->type == NODE_TEXT) {
        read_url(l, n, d);
        return;
    }
    if (!load_is(l, n, NODE_MAP, "http"))
        return;
    load_keys(l, n, http_keys, NULL);
    if (node_get(n, "url") != NULL)
        read_url(l, node_get(n, "url"), d);
    else
        load_missing(l, n, "url", "");
    if (node_get(n, "headers") != NULL)
        headers_read(l, node_get(n, "headers"), &d->headers);
    struct place at = n->at;
    if (load_secret_keys(l, n, NULL, &at, &d->secret_name, &d->secret) && d->secret_name != NULL &&
        d->secret == NULL)
        report_warning(l->report, at,
                       "%s: there is no secret: set %s or %s_FILE; until then nothing is sent",
                       l->subject, d->secret_name, d->secret_name);
    struct buf key = {0};
    if (d->secret != NULL && str_starts(str_of(d->secret), "whsec_") &&
        (!buf_base64_decode(&key, str_of(d->secret + 6)) || key.n == 0))
        load_fail(l, at, "secret", "what stands behind whsec_ in %s is no base64", d->secret_name);
    buf_finish(&key);
}

/* Keys, files, GitHub. */

static void read_kv(struct load *l, const struct node *n, struct delivery *d)
{
    struct err e;
    d->kind = DELIVERY_KV;
    if (n->type == NODE_MAP) {
        load_keys(l, n, kv_keys, NULL);
        if (node_get(n, "key") == NULL) {
            load_missing(l, n, "key", "");
            return;
        }
        n = node_get(n, "key");
    }
    d->to = load_word(l, n, "kv");
    if (d->to != NULL && !template_check(str_of(d->to), 1, true, (size_t)l->c->set.key_max, &e))
        load_fail(l, n->at, "kv", "%s", e.text);
}

static void read_file(struct load *l, const struct node *n, struct delivery *d)
{
    d->kind = DELIVERY_FILE;
    if (n->type == NODE_MAP) {
        load_keys(l, n, file_keys, NULL);
        if (node_get(n, "path") == NULL) {
            load_missing(l, n, "path", "");
            return;
        }
        n = node_get(n, "path");
    }
    d->to = load_path(l, n, "file");
    for (const char *p = d->to; p != NULL && (p = strchr(p, '{')) != NULL; p++) {
        if (strncmp(p, "{run}", 5) == 0 || strncmp(p, "{1}", 3) == 0)
            continue;
        load_fail(l, n->at, "file", "in braces there can be {run} alone, the run's id");
        break;
    }
}

static void read_github(struct load *l, const struct node *n, struct delivery *d)
{
    d->kind = DELIVERY_GITHUB;
    if (!load_is(l, n, NODE_MAP, "github"))
        return;
    load_keys(l, n, github_keys, NULL);
    d->to = read_line(l, n, "repository");
    d->sha = read_line(l, n, "sha");
    d->issue = read_line(l, n, "issue");
    d->context = read_line(l, n, "context");
    d->text = read_text(l, n, "text");
    if (node_get(n, "repository") == NULL)
        load_missing(l, n, "repository",
                     ": owner/name, or where it stands: "
                     ".input.payload.repository.full_name");
    else if (d->to != NULL && d->to[0] != '.' &&
             (strchr(d->to, '/') == NULL || strpbrk(d->to, " ?#") != NULL))
        load_fail(l, node_get(n, "repository")->at, "repository",
                  "must be owner/name, or a path such as .input.payload.repository.full_name");
    if ((d->sha != NULL) == (d->issue != NULL) && node_get(n, "sha") == node_get(n, "issue"))
        load_fail(l, n->at, "github", "needs sha for a commit status, or issue for a comment");
    else if (d->sha != NULL && d->issue != NULL)
        load_fail(l, n->at, "github", "has both sha and issue: choose one");
}

/* It may come with the environment of the server, so it is no error here. */
static void need_setting(struct load *l, const struct node *n, enum delivery_kind kind)
{
    const struct settings *set = &l->c->set;
    const char *missing =
        kind == DELIVERY_EMAIL && set->smtp_url[0] == '\0'        ? "HOOKMESH_SMTP_URL"
        : kind == DELIVERY_SLACK && set->slack_webhook[0] == '\0' ? "HOOKMESH_SLACK_WEBHOOK"
        : kind == DELIVERY_GITHUB && set->github_token[0] == '\0' ? "HOOKMESH_GITHUB_TOKEN"
                                                                  : NULL;
    if (missing == NULL || (l->lacking & 1U << kind) != 0)
        return;
    l->lacking |= 1U << kind;
    report_warning(l->report, n->at, "%s: %s: nothing can be sent until %s is set", l->subject,
                   kinds[kind], missing);
}

static void read_kind(struct load *l, const char *kind, const struct node *n, struct delivery *d)
{
    static void (*const readers[])(struct load * l, const struct node *n, struct delivery *d) = {
        read_email, read_slack, read_http, read_kv, read_file, read_github};
    for (size_t i = 0; kinds[i] != NULL; i++) {
        if (strcmp(kinds[i], kind) == 0) {
            readers[i](l, n, d);
            need_setting(l, n, d->kind);
        }
    }
}

const char *delivery_name(enum delivery_kind kind)
{
    return kinds[kind];
}

bool delivery_read(struct load *l, const struct node *item, struct delivery *d)
{
    const struct node *found = NULL;
    *d = (struct delivery){0};
    if (!load_is(l, item, NODE_MAP, "output"))
        return false;
    load_keys(l, item, item_keys, NULL);
    for (size_t i = 0; kinds[i] != NULL; i++) {
        const struct node *key = node_key(item, kinds[i]);
        if (key != NULL && found != NULL) {
            load_fail(l, key->at, "output", "has both %s and %s: make two items of them",
                      found->text, kinds[i]);
            return false;
        }
        found = key != NULL ? key : found;
    }
    if (found == NULL) {
        bool meant = false;
        for (size_t i = 0; kinds[i] != NULL; i++)
            meant = meant || load_meant(l, item, kinds[i]);
        if (!meant)
            load_fail(l, item->at, "output",
                      "goes nowhere: add email, slack, http, kv, file or github");
        return false;
    }
    read_kind(l, found->text, node_get(item, found->text), d);
    return true;
}

/* notify: slack, email or http, with channel, to or url beside it; or an address, "#channel" or URL itself; or an item as in `output`. */
bool notice_read(struct load *l, const struct node *map, const struct node *n, struct delivery *d)
{
    static const struct {
        const char *kind;
        const char *beside;
    } words[] = {{"slack", "channel"}, {"email", "to"}, {"http", "url"}};
    *d = (struct delivery){0};
    if (n->type == NODE_MAP) {
        if (!delivery_read(l, n, d))
            return false;
        if (d->kind > DELIVERY_HTTP)
            load_fail(l, n->at, "notify", "a notice goes by email, slack or http");
        return true;
    }
    if (!load_is(l, n, NODE_TEXT, "notify"))
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(n->text, words[i].kind) != 0)
            continue;
        const struct node *beside = node_get(map, words[i].beside);
        const struct node nothing = {.type = NODE_NULL, .at = n->at};
        if (beside == NULL && i != 0)
            load_missing(l, map, words[i].beside, "");
        else
            read_kind(l, words[i].kind, beside != NULL ? beside : &nothing, d);
        return true;
    }
    if (str_starts(str_of(n->text), "http://") || str_starts(str_of(n->text), "https://"))
        read_kind(l, "http", n, d);
    else if (n->text[0] == '#')
        read_kind(l, "slack", n, d);
    else if (strchr(n->text, '@') != NULL || strchr(n->text, '$') != NULL)
        read_kind(l, "email", n, d);
    else
        load_fail(
            l, n->at, "notify",
            "\"%.*s\" is nobody: write an address, \"#channel\", a URL, or slack, email, http",
            n->text_n > 60 ? 60 : (int)n->text_n, n->text);
    return true;
}
