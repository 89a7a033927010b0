/* SPDX-License-Identifier: Apache-2.0 */
/* Senders sign in a dozen ways that differ in data only: which header, which prefix, hex or base64, the body
 * alone or a text around it, with or without a timestamp. So there is one check and a table of rows; code for one sender alone
 * must not appear here.
 *
 * The MAC is fetched once and keyed once for each hook: fetching and keying cost more than hashing a small body. A token
 * is compared by its MAC as well, so that neither its bytes nor its length show in the time taken.
 *
 * The MAC runs over the bytes as they came. Whoever parses, decodes or trims the body before this check breaks it. */
#include "handlers/verify.h"

#include <ctype.h>
#include <string.h>

#include "base/crypto.h"
#include "base/mem.h"

enum { MAC_SIZE = CRYPTO_SHA256, PARTS_MAX = 8 };

static const struct verify_scheme schemes[] = {
    {.name = "github",
     .how = VERIFY_HMAC_SHA256,
     .header = "X-Hub-Signature-256",
     .prefix = "sha256=",
     .encoding = VERIFY_HEX,
     .text = "{body}",
     .ids = {"x-github-delivery"},
     .events = {"x-github-event"},
     .ping = "ping"},
    {.name = "gitlab",
     .how = VERIFY_TOKEN,
     .header = "X-Gitlab-Token",
     .prefix = "",
     .ids = {"idempotency-key", "x-gitlab-event-uuid"},
     .events = {"x-gitlab-event"}},
    {.name = "stripe",
     .how = VERIFY_HMAC_SHA256,
     .header = "Stripe-Signature",
     .prefix = "v1=",
     .encoding = VERIFY_HEX,
     .between = ',',
     .text = "{timestamp}.{body}",
     .time_field = "t=",
     .window_s = 300},
    {.name = "slack",
     .how = VERIFY_HMAC_SHA256,
     .header = "X-Slack-Signature",
     .prefix = "v0=",
     .encoding = VERIFY_HEX,
     .text = "v0:{timestamp}:{body}",
     .time = "x-slack-request-timestamp",
     .window_s = 300},
    {.name = "standard-webhooks",
     .how = VERIFY_HMAC_SHA256,
     .header = "Webhook-Signature",
     .prefix = "v1,",
     .encoding = VERIFY_BASE64,
     .between = ' ',
     .text = "{id}.{timestamp}.{body}",
     .time = "webhook-timestamp",
     .window_s = 300,
     .secret_prefix = "whsec_",
     .ids = {"webhook-id"}},
    {.name = "token",
     .how = VERIFY_TOKEN,
     .header = "Authorization",
     .header_by_hook = true,
     .prefix = "Bearer ",
     .ids = {"x-delivery-id", "idempotency-key", "x-request-id"},
     .events = {"x-event", "x-event-type", "ce-type"}},
    {.name = "hmac-sha256",
     .how = VERIFY_HMAC_SHA256,
     .header = "X-Signature-256",
     .header_by_hook = true,
     .prefix = "sha256=",
     .prefix_optional = true,
     .encoding = VERIFY_HEX,
     .text = "{body}",
     .ids = {"x-delivery-id", "idempotency-key", "x-request-id"},
     .events = {"x-event", "x-event-type", "ce-type"}},
};
enum { SCHEMES = sizeof schemes / sizeof schemes[0], GENERIC = SCHEMES - 1 };

struct verifier {
    const struct hook *hook;
    const struct verify_scheme *row;
    const char *prefix;
    char *shown;                   /* the header's name for messages ... */
    char *header;                  /* ... and in lower case */
    struct crypto_hmac *mac;       /* NULL: no key */
    unsigned char token[MAC_SIZE]; /* of a token scheme: the MAC of the secret itself */
    bool bad_secret;
};

const struct verify_scheme *verify_schemes(size_t *n)
{
    *n = SCHEMES;
    return schemes;
}

const struct verify_scheme *verify_scheme(const char *name)
{
    for (size_t i = 0; name != NULL && i < SCHEMES; i++) {
        if (strcmp(schemes[i].name, name) == 0)
            return &schemes[i];
    }
    return NULL;
}

static void key_verifier(struct verifier *v, struct str secret)
{
    const char *prefix = v->row->secret_prefix;
    if (prefix != NULL && str_starts(secret, prefix)) {
        size_t cut = strlen(prefix);
        struct buf key = {0};
        v->bad_secret =
            !buf_base64_decode(&key, (struct str){secret.p + cut, secret.n - cut}) || key.n == 0;
        if (!v->bad_secret)
            v->mac = crypto_hmac_new(buf_view(&key));
        crypto_wipe(key.p, key.cap);
        buf_finish(&key);
    } else {
        v->mac = crypto_hmac_new(secret);
    }
    if (v->row->how == VERIFY_TOKEN)
        crypto_hmac_sum(v->mac, 1, &secret, v->token);
}

struct verifier *verifier_new(const struct hook *hook)
{
    struct verifier *v = mem_new(struct verifier);
    v->hook = hook;
    v->row = verify_scheme(hook->scheme);
    if (v->row == NULL)
        v->row = &schemes[GENERIC];
    bool named = v->row->header_by_hook && hook->header != NULL;
    v->shown = mem_strdup(named ? hook->header : v->row->header);
    /* A token in a header of its own comes without "Bearer". */
    v->prefix = named && v->row->how == VERIFY_TOKEN && strcasecmp(v->shown, v->row->header) != 0
                    ? ""
                    : v->row->prefix;
    v->header = mem_strdup(v->shown);
    for (char *c = v->header; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    if (hook->secret != NULL && hook->secret[0] != '\0')
        key_verifier(v, str_of(hook->secret));
    return v;
}

void verifier_free(struct verifier *v)
{
    if (v == NULL)
        return;
    crypto_hmac_free(v->mac);
    mem_free(v->shown);
    mem_free(v->header);
    mem_free(v);
}

const struct verify_scheme *verifier_scheme(const struct verifier *v)
{
    return v->row;
}

const char *verifier_header(const struct verifier *v)
{
    return v->header;
}

struct str verify_first(const char *const names[VERIFY_NAMES], verify_header_fn header,
                        const void *arg)
{
    for (size_t i = 0; i < VERIFY_NAMES && names[i] != NULL; i++) {
        struct str value = header(arg, names[i]);
        if (value.n != 0)
            return value;
    }
    return (struct str){NULL, 0};
}

/* What a delivery says about its signature. */
struct claimed {
    struct str value; /* the header's */
    struct str time;
    struct str id;
};

static struct str after(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return (struct str){s.p + n, s.n - n};
}

static bool no_secret(const struct verifier *v, struct err *e)
{
    const struct hook *hook = v->hook;
    if (v->bad_secret)
        return err_fail(e, ERR_UNAUTHORIZED,
                        "the secret configured for %s begins with %s but is not base64 behind it: "
                        "copy it again from the sender",
                        hook->path, v->row->secret_prefix);
    const char *name = hook->secret_name != NULL ? hook->secret_name : "named by secret_env";
    return err_fail(e, ERR_UNAUTHORIZED,
                    "no secret is configured for %s: set the environment variable %s for the "
                    "server, or insecure: true in the trigger to take unsigned deliveries",
                    hook->path, name);
}

static bool wrong_form(const struct verifier *v, struct err *e)
{
    return err_fail(
        e, ERR_UNAUTHORIZED, "the header %s is not of the form %s%s", v->shown, v->prefix,
        v->row->encoding == VERIFY_HEX ? "<64 hexadecimal digits>" : "<44 characters of base64>");
}

static bool same_sum(const unsigned char a[MAC_SIZE], const unsigned char b[MAC_SIZE])
{
    return crypto_equal((struct str){(const char *)a, MAC_SIZE},
                        (struct str){(const char *)b, MAC_SIZE});
}

static bool check_token(struct verifier *v, struct str value, struct err *e)
{
    size_t n = strlen(v->prefix);
    if (n != 0) {
        if (value.n <= n || !str_is_icase((struct str){value.p, n}, v->prefix))
            return err_fail(e, ERR_UNAUTHORIZED, "the header %s is not of the form %s<token>",
                            v->shown, v->prefix);
        value = str_trim(after(value, v->prefix));
    }
    unsigned char got[MAC_SIZE];
    crypto_hmac_sum(v->mac, 1, &value, got);
    if (!same_sum(got, v->token))
        return err_fail(e, ERR_UNAUTHORIZED,
                        "the token in the header %s does not match: check that the secret here "
                        "and at the sender are the same",
                        v->shown);
    return true;
}

/* The MAC of the row's text, its placeholders filled in. */
static void mac_of_text(struct crypto_hmac *mac, const char *text, const struct claimed *c,
                        struct str body, unsigned char out[MAC_SIZE])
{
    struct str parts[PARTS_MAX];
    size_t n = 0;
    while (*text != '\0') {
        must(n < PARTS_MAX);
        if (strncmp(text, "{body}", 6) == 0) {
            parts[n++] = body;
            text += 6;
        } else if (strncmp(text, "{timestamp}", 11) == 0) {
            parts[n++] = c->time;
            text += 11;
        } else if (strncmp(text, "{id}", 4) == 0) {
            parts[n++] = c->id;
            text += 4;
        } else {
            size_t plain = strcspn(text + 1, "{") + 1;
            parts[n++] = (struct str){text, plain};
            text += plain;
        }
    }
    crypto_hmac_sum(mac, n, parts, out);
}

static bool check_time(const struct verifier *v, const struct claimed *c, int64_t now_s,
                       struct err *e)
{
    const char *where = v->row->time != NULL ? v->row->time : v->header;
    uint64_t at;
    if (c->time.n == 0)
        return err_fail(e, ERR_UNAUTHORIZED, "the timestamp in the header %s is missing", where);
    if (!str_u64(c->time, &at) || at > INT64_MAX / 2)
        return err_fail(e, ERR_UNAUTHORIZED,
                        "the timestamp in the header %s is not a number of seconds since 1970",
                        where);
    int64_t off = now_s - (int64_t)at;
    if (off > v->row->window_s || off < -v->row->window_s)
        return err_fail(e, ERR_UNAUTHORIZED,
                        "the delivery was signed %lld s %s this server's clock, and at most %d s "
                        "are allowed: check both clocks; an old delivery must be sent anew",
                        (long long)(off < 0 ? -off : off), off < 0 ? "ahead of" : "behind",
                        v->row->window_s);
    return true;
}

static bool decode(const struct verifier *v, struct str s, unsigned char out[MAC_SIZE])
{
    if (v->row->encoding == VERIFY_HEX)
        return hex_decode(s, out, MAC_SIZE);
    struct buf bytes = {0};
    bool good = s.n < 64 && buf_base64_decode(&bytes, s) && bytes.n == MAC_SIZE;
    if (good)
        memcpy(out, bytes.p, MAC_SIZE);
    buf_finish(&bytes);
    return good;
}

/* One of the header's fields is enough: senders that change their secret sign with both for a while. */
static bool check_fields(const struct verifier *v, struct str value,
                         const unsigned char want[MAC_SIZE], struct err *e)
{
    bool formed = false;
    bool same = false;
    while (value.p != NULL) {
        struct str field = value;
        if (v->row->between != 0)
            field = str_trim(str_split(&value, v->row->between));
        else
            value.p = NULL;
        unsigned char got[MAC_SIZE];
        bool prefixed = str_starts(field, v->prefix);
        if (!prefixed && !v->row->prefix_optional)
            continue;
        if (!decode(v, prefixed ? after(field, v->prefix) : field, got))
            continue;
        formed = true;
        same |= same_sum(got, want);
    }
    if (!formed)
        return wrong_form(v, e);
    if (!same)
        return err_fail(e, ERR_UNAUTHORIZED,
                        "signature does not match: check that the secret here and at the sender "
                        "are the same, and that no proxy changes the body");
    return true;
}

static struct str time_field(const struct verify_scheme *row, struct str value)
{
    while (value.p != NULL) {
        struct str field = str_trim(str_split(&value, row->between));
        if (str_starts(field, row->time_field))
            return after(field, row->time_field);
    }
    return (struct str){NULL, 0};
}

bool verifier_check(struct verifier *v, verify_header_fn header, const void *arg, struct str body,
                    int64_t now_s, struct err *e)
{
    const struct verify_scheme *row = v->row;
    if (v->hook->scheme != NULL && verify_scheme(v->hook->scheme) == NULL)
        return err_fail(e, ERR_UNAUTHORIZED, "the trigger %s names the unknown scheme %s",
                        v->hook->path, v->hook->scheme);
    if (v->mac == NULL)
        return (v->hook->insecure && !v->bad_secret) || no_secret(v, e);
    struct claimed c = {.value = str_trim(header(arg, v->header))};
    if (c.value.n == 0)
        return err_fail(e, ERR_UNAUTHORIZED,
                        "the header %s is missing: set the secret at the sender too, so that it "
                        "%s its deliveries",
                        v->shown, row->how == VERIFY_TOKEN ? "sends the token with" : "signs");
    if (row->how == VERIFY_TOKEN)
        return check_token(v, c.value, e);
    if (row->time != NULL)
        c.time = header(arg, row->time);
    else if (row->time_field != NULL)
        c.time = time_field(row, c.value);
    if (row->window_s != 0 && !check_time(v, &c, now_s, e))
        return false;
    c.id = verify_first(row->ids, header, arg);
    unsigned char want[MAC_SIZE];
    mac_of_text(v->mac, row->text, &c, body, want);
    return check_fields(v, c.value, want, e);
}

void verify_sign(struct buf *out, const struct verify_scheme *scheme, struct str secret,
                 struct str body)
{
    buf_puts(out, scheme->prefix);
    if (scheme->how == VERIFY_TOKEN) {
        buf_str(out, secret);
        return;
    }
    struct crypto_hmac *mac = crypto_hmac_new(secret);
    unsigned char sum[MAC_SIZE];
    mac_of_text(mac, scheme->text, &(struct claimed){0}, body, sum);
    if (scheme->encoding == VERIFY_HEX)
        buf_hex(out, sum, sizeof sum);
    else
        buf_base64(out, sum, sizeof sum);
    crypto_hmac_free(mac);
}

void verify_finish(void)
{
    crypto_finish();
}
