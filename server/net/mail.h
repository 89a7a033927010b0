/* SPDX-License-Identifier: Apache-2.0 */
/* Sends one mail to one mail server (RFC 5321), on the loop. The callback fires exactly once, never inside mail_send. */
#ifndef NET_MAIL_H
#define NET_MAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "net/httpc.h"

struct mail {
    struct httpc_dial server; /* its timeout is for all of it */
    const char *from;         /* address alone */
    const char *const *to;    /* addresses alone, NULL behind the last */
    struct str
        message; /* RFC 5322; dots are stuffed here, and a bare CR or LF becomes a line's end */
};

struct mail_result { /* borrowed by the callback */
    struct str said; /* the server's last answer: "250 2.0.0 queued as 4F1" */
    /* Recipients that it did not take though it took others: "ADDRESS<tab>550 what it said\n" each. */
    struct str refused;
};

/* r: some recipient was taken. e: none has it. ERR_UNAVAILABLE, ERR_TIMEOUT: later perhaps; ERR_FORBIDDEN (a 5xx answer, or no TLS where it is asked for),
 * ERR_UNAUTHORIZED (the login), ERR_BAD_INPUT (URL or address): not by trying again. */
typedef void (*mail_fn)(void *arg, const struct mail_result *r, const struct err *e);

struct mail_call;
struct mail_call *mail_send(const struct mail *m, mail_fn fn, void *arg);
void mail_cancel(struct mail_call *m); /* fn fires with ERR_CANCELLED */

/* Something that may stand between < and > in SMTP: one @, no spaces, quotes, brackets or bytes beyond ASCII. */
bool mail_is_address(struct str s);

#endif
