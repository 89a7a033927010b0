/* SPDX-License-Identifier: Apache-2.0 */
/* Notices that go out as one HTTP request: Slack, signed webhooks, GitHub. Pure: the requests are made here, sent elsewhere. */
#ifndef WORK_DELIVER_POST_H
#define WORK_DELIVER_POST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "work/deliver.h"

enum { POST_HEADERS = 40, POST_KEPT = 4096 };

struct post {
    char *url;
    char *headers[POST_HEADERS + 1]; /* NULL behind the last */
    struct buf body;
    char *who;    /* for errors: "Slack", "https://host" */
    char *hint;   /* what to look at when it says no; may be NULL */
    char *result; /* members of the result's JSON, without the answer's: "\"sent\":\"slack\"" */
    char *look;   /* github: where an earlier attempt's comment would be found; NULL: nowhere */
    char *mark;   /* ... and how it is known */
};

/* ERR_CONFIG says what is to be set; ERR_NOT_FOUND, ERR_BAD_INPUT: this run has not what is asked for. wall_us: now. */
bool post_slack(struct post *p, const struct deliver_what *w, const struct settings *set,
                struct err *e) MUST_CHECK;
bool post_http(struct post *p, const struct deliver_what *w, int64_t wall_us,
               struct err *e) MUST_CHECK;
bool post_github(struct post *p, const struct deliver_what *w, const struct settings *set,
                 struct err *e) MUST_CHECK;
void post_finish(struct post *p);

/* What an answer means. error gets a text unless it is OK. body: its first POST_KEPT bytes. */
enum claim_outcome post_judge(const struct post *p, int status, struct str body,
                              int64_t retry_after_ms, struct buf *error);

#endif
