/* SPDX-License-Identifier: Apache-2.0 */
/* From a webhook delivery to a run's input: the JSON in the body, and whether the trigger wants the event. No I/O here;
 * trigger/submit takes it on.
 *
 * The input is an envelope around the payload's bytes as they came:
 *
 *     {"hook":"/hooks/github","event":"push","delivery":"72d3162e-...","received_at":"2026-11-20T09:00:00.123Z",
 *      "headers":{"content-type":"application/json","x-github-event":"push",...},"payload":...}
 *
 * A struct webhook belongs to whoever called webhook_new; the slices in it are borrowed and must live
 * until webhook_free. One thread only. */
#ifndef TRIGGER_WEBHOOK_H
#define TRIGGER_WEBHOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/id.h"
#include "config/config.h"

struct webhook {
    /* From webhook_new. */
    struct config *config;
    const struct hook *hook; /* NULL: none has that path */
    char delivery_id[ID_SIZE];
    char run_id[ID_SIZE];
    int64_t received_us;
    /* Set by the caller. */
    struct str path;
    struct str event;
    struct str external_id; /* the sender's id of the delivery; may be empty */
    struct str content_type;
    struct str body;
    struct buf headers; /* JSON object of the headers of interest */
    struct str replay;  /* id of the delivery that this one repeats; empty: it came from outside */
    bool believed;      /* its signature was right, or needs none */
    void *user;
    /* From webhook_read. */
    struct str payload; /* JSON */
    struct buf action;
    struct buf summary; /* JSON object of what lists show */
    struct buf decoded; /* private: a form's payload */
};

struct webhook *webhook_new(struct config *c, const struct hook *hook, int64_t wall_us);
void webhook_free(struct webhook *w);

/* Is this header one that a run may see? Never one that carries a secret; nor what only the transport needs. except: the
 * name of the trigger's own signature header. Lower-case names. */
bool webhook_header_wanted(struct str name, const char *except);

/* Finds the JSON and checks it whole. ERR_MEDIA_TYPE or ERR_BAD_INPUT, saying what to send. */
bool webhook_read(struct webhook *w, struct err *e) MUST_CHECK;
/* After webhook_read: does the trigger's list of events take it? */
bool webhook_wanted(const struct webhook *w);
/* After webhook_read: the run's input. */
void webhook_envelope(struct buf *out, const struct webhook *w);

void webhook_finish(void); /* at the end of the process */

#endif
