/* SPDX-License-Identifier: Apache-2.0 */
/* Any header under any scheme: the first byte chooses the row, then lines are the signature's header, the timestamp and the id; the rest
 * is the body. Nothing that isn't a signature by the secret is ever believed. */
#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "handlers/verify.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

struct sent {
    const char *header;
    struct str value;
    struct str time;
    struct str id;
};

static struct str header_of(const void *arg, const char *name)
{
    const struct sent *s = arg;
    if (strcmp(name, s->header) == 0)
        return s->value;
    return strstr(name, "time") != NULL ? s->time : s->id;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static char path[] = "/hooks/x", secret[33], list[200];
    static char *names[16];
    static struct verifier *verifiers[16];
    static struct hook hooks[16];
    size_t n;
    const struct verify_scheme *rows = verify_schemes(&n);
    if (secret[0] ==
        '\0') { /* a new one each time: the fuzzer reads constants out of the program */
        unsigned char random[16];
        struct buf hex = {0};
        id_random(random, sizeof random);
        buf_hex(&hex, random, sizeof random);
        memcpy(secret, hex.p, sizeof secret);
        buf_finish(&hex);
        struct buf coded = {0};
        buf_base64(&coded, secret, 32); /* as good a public key as any: nobody has its other half */
        snprintf(list, sizeof list, "whsec_%s whpk_%s %s", coded.p, coded.p, secret);
        buf_finish(&coded);
    }
    for (size_t i = 0; i < n && verifiers[i] == NULL; i++) {
        names[i] = strdup(rows[i].name);
        hooks[i] = (struct hook){.path = path,
                                 .scheme = names[i],
                                 .secret = rows[i].public_prefix != NULL ? list : secret};
        verifiers[i] = verifier_new(&hooks[i]);
    }
    if (size == 0)
        return 0;
    struct verifier *v = verifiers[data[0] % n];
    struct str rest = {(const char *)data + 1, size - 1};
    struct sent s = {.header = verifier_header(v)};
    s.value = str_split(&rest, '\n');
    s.time = str_split(&rest, '\n');
    s.id = str_split(&rest, '\n');
    struct err e;
    must(!verifier_check(v, header_of, &s, rest, 1700000000, &e));
    must(e.code == ERR_UNAUTHORIZED);
    return 0;
}
