/* SPDX-License-Identifier: Apache-2.0 */
/* Senders sign in a dozen ways that differ in data only: which header, which prefix, hex or base64, the body
 * alone or a text around it, with or without a timestamp. So there is one check and a table of rows; code for one sender alone
 * must not appear here.
 *
 * A key is set up once for each hook: that costs more than hashing a small body. A token is compared by its MAC as well, so that neither
 * its bytes nor its length show in the time taken.
 *
 * The check is over the bytes as they came. Whoever parses, decodes or trims the body before it breaks it. */
#include "handlers/verify.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "base/mem.h"

enum {
    MAC_SIZE = CRYPTO_SHA256,
    PARTS_MAX = 8,
    KEYS_MAX = 8,
    PUBLIC_MAX = 16, /* signatures by public keys that are looked at: each costs 0.1 ms */
};

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
     .window_s = 300,
     .ids_at = {"/id"},
     .events_at = {"/type"}},
    {.name = "slack",
     .how = VERIFY_HMAC_SHA256,
     .header = "X-Slack-Signature",
     .prefix = "v0=",
     .encoding = VERIFY_HEX,
     .text = "v0:{timestamp}:{body}",
     .time = "x-slack-request-timestamp",
     .window_s = 300,
     .ids_at = {"/event_id"},
     .events_at = {"/event/type", "/type"},
     .challenge = "url_verification"},
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
     .public_prefix = "whpk_",
     .public_sign = "v1a,",
     .ids = {"webhook-id"},
     .events_at = {"/type"}},
    {.name = "svix",
     .how = VERIFY_HMAC_SHA256,
     .header = "Svix-Signature",
     .prefix = "v1,",
     .encoding = VERIFY_BASE64,
     .between = ' ',
     .text = "{id}.{timestamp}.{body}",
     .time = "svix-timestamp",
     .window_s = 300,
     .secret_prefix = "whsec_",
     .public_prefix = "whpk_",
     .public_sign = "v1a,",
     .ids = {"svix-id"},
     .events_at = {"/type"}},
    {.name = "token",
     .how = VERIFY_TOKEN,
     .header = "Authorization",
     .header_by_hook = true,
     .prefix = "Bearer ",
     .ids = {"x-delivery-id", "idempotency-key", "x-request-id"},
     .events = {"x-event", "x-event-type"}},
    {.name = "hmac-sha256",
     .how = VERIFY_HMAC_SHA256,
     .header = "X-Signature-256",
     .header_by_hook = true,
     .prefix = "sha256=",
     .prefix_optional = true,
     .encoding = VERIFY_HEX_OR_BASE64,
     .text = "{body}",
     .ids = {"x-delivery-id", "idempotency-key", "x-request-id"},
     .events = {"x-event", "x-event-type"}},
};
enum { SCHEMES = sizeof schemes / sizeof schemes[0], GENERIC = SCHEMES - 1 };

struct key {
    struct crypto_hmac *mac;                  /* NULL: it is a public key */
    unsigned char public[CRYPTO_ED25519_KEY]; /* Ed25519 */
};

struct verifier {
    const struct hook *hook;
    const struct verify_scheme *row;
    const char *prefix;
    char *shown;  /* the header's name for messages ... */
    char *header; /* ... and in lower case */
    struct key keys[KEYS_MAX];
    size_t key_n;
    unsigned char token[MAC_SIZE]; /* of a token scheme: the MAC of the secret itself */
    char bad_secret[160];          /* what is wrong with it; empty: nothing */
    struct buf text;               /* scratch: what a public key's signature is over */
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

static struct str after(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return (struct str){s.p + n, s.n - n};
}

static void add_key(struct verifier *v, struct str secret)
{
    v->keys[v->key_n++].mac = crypto_hmac_new(secret);
}

static void add_public_key(struct verifier *v, struct str key)
{
    if (key.n == CRYPTO_ED25519_KEY)
        memcpy(v->keys[v->key_n++].public, key.p, key.n);
    else
        snprintf(v->bad_secret, sizeof v->bad_secret,
                 "has a key that begins with %s but is not %d bytes in base64 behind it",
                 v->row->public_prefix, CRYPTO_ED25519_KEY);
}

/* One of a list. */
static void add_listed(struct verifier *v, struct str word)
{
    const char *prefix = v->row->secret_prefix;
    bool private = str_starts(word, prefix);
    bool public = str_starts(word, v->row->public_prefix);
    struct buf key = {0};
    struct str coded = private  ? after(word, prefix)
                       : public ? after(word, v->row->public_prefix)
                                : word;
    bool decoded = buf_base64_decode(&key, coded) && key.n != 0;
    if (v->key_n + 2 > KEYS_MAX)
        snprintf(v->bad_secret, sizeof v->bad_secret, "has more than %d keys", KEYS_MAX - 1);
    else if (public)
        add_public_key(v, decoded ? buf_view(&key) : (struct str){NULL, 0});
    else if (private && !decoded)
        snprintf(v->bad_secret, sizeof v->bad_secret, "begins with %s but is not base64 behind it",
                 prefix);
    else if (decoded)
        add_key(v, buf_view(&key));
    if (!private && !public && v->bad_secret[0] == '\0')
        add_key(v, word); /* who leaves the prefix out may mean base64 or text */
    crypto_wipe(key.p, key.cap);
    buf_finish(&key);
}

static void key_verifier(struct verifier *v, struct str secret)
{
    if (v->row->secret_prefix == NULL) {
        add_key(v, secret);
    } else {
        struct str rest = secret;
        while (rest.p != NULL) {
            struct str word = str_trim(str_split(&rest, ' '));
            if (word.n != 0)
                add_listed(v, word);
        }
        if (v->key_n == 0 && v->bad_secret[0] == '\0')
            snprintf(v->bad_secret, sizeof v->bad_secret, "holds no key");
    }
    if (v->row->how == VERIFY_TOKEN)
        crypto_hmac_sum(v->keys[0].mac, 1, &secret, v->token);
}

static void forget_keys(struct verifier *v)
{
    for (size_t i = 0; i < v->key_n; i++)
        crypto_hmac_free(v->keys[i].mac);
    v->key_n = 0;
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
    if (v->bad_secret[0] != '\0')
        forget_keys(v);
    return v;
}

void verifier_free(struct verifier *v)
{
    if (v == NULL)
        return;
    forget_keys(v);
    buf_finish(&v->text);
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

static bool no_secret(const struct verifier *v, struct err *e)
{
    const struct hook *hook = v->hook;
    if (v->bad_secret[0] != '\0')
        return err_fail(e, ERR_UNAUTHORIZED,
                        "the secret configured for %s %s: copy it again from the sender",
                        hook->path, v->bad_secret);
    const char *name = hook->secret_name != NULL ? hook->secret_name : "named by secret_env";
    return err_fail(e, ERR_UNAUTHORIZED,
                    "no secret is configured for %s: set the environment variable %s for the "
                    "server, or insecure: true in the trigger to take unsigned deliveries",
                    hook->path, name);
}

static bool wrong_form(const struct verifier *v, struct err *e)
{
    static const char *const forms[] = {[VERIFY_HEX] = "<64 hexadecimal digits>",
                                        [VERIFY_BASE64] = "<44 characters of base64>",
                                        [VERIFY_HEX_OR_BASE64] =
                                            "<64 hexadecimal digits or 44 characters of base64>"};
    return err_fail(e, ERR_UNAUTHORIZED, "the header %s is not of the form %s%s", v->shown,
                    v->prefix, forms[v->row->encoding]);
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
    crypto_hmac_sum(v->keys[0].mac, 1, &value, got);
    if (!same_sum(got, v->token))
        return err_fail(e, ERR_UNAUTHORIZED,
                        "the token in the header %s does not match: check that the secret here "
                        "and at the sender are the same",
                        v->shown);
    return true;
}

/* What is signed: the row's text, its placeholders filled in. Returns the number of parts. */
static size_t signed_text(const char *text, const struct claimed *c, struct str body,
                          struct str parts[PARTS_MAX])
{
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
    return n;
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
    if (v->row->encoding != VERIFY_BASE64 && hex_decode(s, out, MAC_SIZE))
        return true;
    if (v->row->encoding == VERIFY_HEX)
        return false;
    struct buf bytes = {0};
    bool good = s.n < 64 && buf_base64_decode(&bytes, s) && bytes.n == MAC_SIZE;
    if (good)
        memcpy(out, bytes.p, MAC_SIZE);
    buf_finish(&bytes);
    return good;
}

/* The fields of a header against all keys. */
struct fields {
    struct verifier *v;
    size_t part_n;
    struct str parts[PARTS_MAX];
    unsigned char sums[KEYS_MAX][MAC_SIZE];
    size_t publics; /* signatures by public keys so far */
    bool formed;
    bool same;
};

static void check_public(struct fields *f, struct str coded)
{
    struct verifier *v = f->v;
    struct buf signature = {0};
    if (coded.n > 128 || !buf_base64_decode(&signature, coded) ||
        signature.n != CRYPTO_ED25519_SIGNATURE) {
        buf_finish(&signature);
        return;
    }
    f->formed = true;
    if (f->publics++ == 0) {
        buf_clear(&v->text);
        for (size_t i = 0; i < f->part_n; i++)
            buf_str(&v->text, f->parts[i]);
    }
    for (size_t i = 0; i < v->key_n && f->publics <= PUBLIC_MAX && !f->same; i++) {
        if (v->keys[i].mac == NULL)
            f->same =
                crypto_ed25519_verify(v->keys[i].public, buf_view(&v->text), buf_view(&signature));
    }
    buf_finish(&signature);
}

static void check_field(struct fields *f, struct str field)
{
    const struct verifier *v = f->v;
    if (v->row->public_sign != NULL && str_starts(field, v->row->public_sign)) {
        check_public(f, after(field, v->row->public_sign));
        return;
    }
    unsigned char got[MAC_SIZE];
    bool prefixed = str_starts(field, v->prefix);
    if (!prefixed && !v->row->prefix_optional)
        return;
    if (!decode(v, prefixed ? after(field, v->prefix) : field, got))
        return;
    f->formed = true;
    for (size_t i = 0; i < v->key_n; i++)
        f->same |= v->keys[i].mac != NULL && same_sum(got, f->sums[i]);
}

/* One of the header's fields is enough: senders that change their secret sign with both for a while. */
static bool check_fields(struct verifier *v, const struct claimed *c, struct str body,
                         struct err *e)
{
    struct fields f = {.v = v};
    f.part_n = signed_text(v->row->text, c, body, f.parts);
    for (size_t i = 0; i < v->key_n; i++) {
        if (v->keys[i].mac != NULL)
            crypto_hmac_sum(v->keys[i].mac, f.part_n, f.parts, f.sums[i]);
    }
    struct str rest = c->value;
    while (rest.p != NULL) {
        struct str field = rest;
        if (v->row->between != 0)
            field = str_trim(str_split(&rest, v->row->between));
        else
            rest.p = NULL;
        check_field(&f, field);
    }
    if (v->text.cap > 65536)
        buf_finish(&v->text);
    if (!f.formed)
        return wrong_form(v, e);
    if (!f.same)
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
    if (v->key_n == 0)
        return (v->hook->insecure && v->bad_secret[0] == '\0') || no_secret(v, e);
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
    return check_fields(v, &c, body, e);
}

void verify_sign(struct buf *out, const struct verify_scheme *scheme, struct str secret,
                 struct str body)
{
    buf_puts(out, scheme->prefix);
    if (scheme->how == VERIFY_TOKEN) {
        buf_str(out, secret);
        return;
    }
    struct str parts[PARTS_MAX];
    unsigned char sum[MAC_SIZE];
    size_t n = signed_text(scheme->text, &(struct claimed){0}, body, parts);
    crypto_hmac_once(secret, n, parts, sum);
    if (scheme->encoding == VERIFY_BASE64)
        buf_base64(out, sum, sizeof sum);
    else
        buf_hex(out, sum, sizeof sum);
}

void verify_finish(void)
{
    crypto_finish();
}
