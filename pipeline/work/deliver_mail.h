/* SPDX-License-Identifier: Apache-2.0 */
/* A notice as a mail: RFC 5322 with MIME, UTF-8, lines of at most 76 bytes. Pure. */
#ifndef WORK_DELIVER_MAIL_H
#define WORK_DELIVER_MAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* "a@x.org, Name <b@y.org>": the addresses alone, NULL behind the last; free with deliver_addresses_free. ERR_CONFIG names the wrong one. */
char **deliver_addresses(const char *list, struct err *e);
void deliver_addresses_free(char **addresses);

struct letter {
    const char *from; /* as in deliver_addresses, one */
    char *const *to;  /* addresses alone */
    struct str subject;
    struct str text;
    struct str id; /* of the notice: the same for every attempt */
    struct str run;
    int64_t wall_us;
};
/* message_id: what stands in its header, with < and >. false: `from` is no address (ERR_CONFIG). */
bool deliver_letter(struct buf *out, struct buf *message_id, const struct letter *l,
                    struct err *e) MUST_CHECK;

#endif
