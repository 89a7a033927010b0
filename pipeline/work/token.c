/* SPDX-License-Identifier: Apache-2.0 */
/* PREFIX base64url({"run","agent","until"}) . base64url(HMAC-SHA256 of all before the last dot). It is never stored: any server of the same Redis
 * can check it, and it ends by itself. */
#include "work/token.h"

#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/store.h"

enum { SECRET_BYTES = 32, GRACE_MS = 30000, LONGEST = 16 * 1024 };

static struct {
    struct buf secret; /* empty: not known yet */
    struct crypto_hmac *
        hmac; /* of the secret, made at its first use: a server without such agents needs no OpenSSL in memory */
    char *url;
    bool asking;
} self;

void token_use_secret(struct str secret)
{
    crypto_hmac_free(self.hmac);
    self.hmac = NULL;
    buf_clear(&self.secret);
    buf_str(&self.secret, secret);
}

static void on_secret(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    self.asking = false;
    if (e != NULL) { /* the next connection asks again */
        log_warn("token", "no_secret", "error=%s", log_quotez(e->text));
        return;
    }
    log_secret(reply_str(r));
    token_use_secret(reply_str(r));
}

/* Each time that Redis comes back: it may be another one, or have lost its data. */
static void on_store(void *arg, bool up)
{
    (void)arg;
    if (!up || self.asking)
        return;
    unsigned char bytes[SECRET_BYTES];
    struct buf hex = {0};
    id_random(bytes, sizeof bytes);
    buf_hex(&hex, bytes, sizeof bytes);
    self.asking = true;
    struct str made = buf_view(&hex);
    store_call("secret", 1, &made, on_secret, NULL);
    buf_finish(&hex);
}

void token_start(void)
{
    store_on_state(on_store, NULL);
}

void token_stop(void)
{
    crypto_hmac_free(self.hmac);
    crypto_wipe(self.secret.p, self.secret.cap);
    buf_finish(&self.secret);
    mem_free(self.url);
    memset(&self, 0, sizeof self);
}

void token_url(const char *url)
{
    mem_free(self.url);
    self.url = mem_strdup(url);
}

/* RFC 4648, 5, without padding. */

static void add_base64url(struct buf *out, const void *p, size_t n)
{
    size_t from = out->n;
    buf_base64(out, p, n);
    while (out->n > from && out->p[out->n - 1] == '=')
        out->n--;
    for (size_t i = from; i < out->n; i++)
        out->p[i] = out->p[i] == '+' ? '-' : out->p[i] == '/' ? '_' : out->p[i];
}

static bool read_base64url(struct buf *out, struct str s)
{
    struct buf plain = {0};
    for (size_t i = 0; i < s.n; i++)
        buf_char(&plain, s.p[i] == '-'   ? '+'
                         : s.p[i] == '_' ? '/'
                         : s.p[i] == '+' || s.p[i] == '/' || s.p[i] == '='
                             ? '!' /* not of this alphabet */
                             : s.p[i]);
    while (plain.n % 4 != 0)
        buf_char(&plain, '=');
    bool good = buf_base64_decode(out, buf_view(&plain));
    buf_finish(&plain);
    return good;
}

static void add_sum(struct buf *out, struct str signed_part)
{
    unsigned char sum[CRYPTO_SHA256];
    if (self.hmac == NULL)
        self.hmac = crypto_hmac_new(buf_view(&self.secret));
    crypto_hmac_sum(self.hmac, 1, &signed_part, sum);
    add_base64url(out, sum, sizeof sum);
}

bool token_make(struct buf *out, struct str run, const char *agent, int64_t until_ms)
{
    if (self.secret.n == 0)
        return false;
    struct buf claims = {0};
    size_t from = out->n;
    buf_char(&claims, '{');
    buf_json_field(&claims, "run", run);
    buf_json_field(&claims, "agent", str_of(agent));
    buf_json_field_int(&claims, "until", until_ms);
    buf_char(&claims, '}');
    buf_puts(out, TOKEN_PREFIX);
    add_base64url(out, claims.p, claims.n);
    struct buf sum = {0};
    add_sum(&sum, (struct str){out->p + from, out->n - from});
    buf_char(out, '.');
    buf_str(out, buf_view(&sum));
    buf_finish(&sum);
    buf_finish(&claims);
    return true;
}

bool token_is_one(struct str text)
{
    return str_starts(text, TOKEN_PREFIX);
}

static bool is_ours(struct str text, struct str *claims)
{
    const char *dot = text.n != 0 && text.n < LONGEST ? memrchr(text.p, '.', text.n) : NULL;
    if (self.secret.n == 0 || dot == NULL || !token_is_one(text) ||
        (size_t)(dot - text.p) < sizeof TOKEN_PREFIX - 1)
        return false;
    struct str signed_part = {text.p, (size_t)(dot - text.p)};
    struct buf sum = {0};
    add_sum(&sum, signed_part);
    bool same = crypto_equal(buf_view(&sum), (struct str){dot + 1, text.n - signed_part.n - 1});
    buf_finish(&sum);
    *claims =
        (struct str){text.p + sizeof TOKEN_PREFIX - 1, signed_part.n - (sizeof TOKEN_PREFIX - 1)};
    return same;
}

/* The slices must outlive the tree: they are moved into t->text. */
static void keep_claims(struct token *t, const struct json *claims)
{
    struct str run = json_str(json_get(claims, "run"));
    struct str agent = json_str(json_get(claims, "agent"));
    buf_clear(&t->text);
    buf_str(&t->text, run);
    buf_str(&t->text, agent);
    buf_puts(&t->text, "");
    t->run = (struct str){t->text.p, run.n};
    t->agent = (struct str){t->text.p + run.n, agent.n};
    t->until_ms = json_int(json_get(claims, "until"), 0);
}

bool token_read(struct token *out, struct str text, int64_t now_ms, struct err *e)
{
    struct str encoded;
    *out = (struct token){0};
    if (!is_ours(text, &encoded) || !read_base64url(&out->text, encoded))
        return err_fail(e, ERR_UNAUTHORIZED,
                        "this is no token of a run of this server; use the HOOKMESH_TOKEN that the "
                        "work was started with");
    struct json *claims = json_parse(buf_view(&out->text), NULL);
    keep_claims(out, claims);
    json_free(claims);
    if (out->until_ms >= now_ms && out->run.n != 0 && out->agent.n != 0)
        return true;
    return err_fail(e, ERR_UNAUTHORIZED,
                    "this run's token is too old: it ends with the step that it was given to");
}

void token_finish(struct token *t)
{
    buf_finish(&t->text);
}

bool token_for_work(struct buf *url, struct buf *token, struct str run, const char *agent,
                    int64_t limit_ms)
{
    if (self.url == NULL)
        return false;
    buf_puts(url, self.url);
    return token_make(token, run, agent, clock_wall_us() / 1000 + limit_ms + GRACE_MS);
}
