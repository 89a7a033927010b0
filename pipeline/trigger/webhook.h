/* SPDX-License-Identifier: Apache-2.0 */
/* From a webhook delivery to a run's input: the JSON in the body, and whether the trigger wants the event. No I/O here;
 * trigger/submit takes it on.
 *
 * The input is an envelope around the payload's bytes as they came:
 *
 *     {"hook":"/hooks/github","event":"push","delivery":"72d3162e-...","received_at":"2026-11-20T09:00:00.123Z",
 *      "headers":{"content-type":"application/json","x-github-event":"push",...},"payload":...}
 *
 * A CloudEvent (1.0, binary or structured) gives event, delivery (source and id) and payload by its attributes; its attributes stand among
 * the headers under their names in binary mode ("ce-subject"), as text, whatever the mode. Data that is no JSON becomes a string, with "ce-datacontentencoding":"base64"
 * when it is no text.
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
    struct buf headers; /* by webhook_header: a JSON object without its end */
    struct buf ce;      /* likewise: headers of CloudEvents as they came */
    struct str replay;  /* id of the delivery that this one repeats; empty: it came from outside */
    bool believed;      /* its signature was right, or needs none */
    const char *const *ids_at; /* JSON pointers to what no header says; may be NULL */
    const char *const *events_at;
    void *user;
    /* From webhook_read. */
    struct str payload; /* JSON */
    struct buf action;
    struct buf summary;   /* JSON object of what lists show */
    struct buf challenge; /* the body's "challenge" */
    struct buf
        attributes; /* of a CloudEvent, which join the headers in the envelope: a JSON object without its end */
    struct buf decoded; /* private: a form's payload, or an event's data */
    struct buf names;   /* private: event and external_id, when the body says them */
    /* Set by the caller after that. */
    struct buf input; /* what the trigger's `input:` made of the envelope: the run's input */
};

/* How a delivery's headers are read: {NULL,0} for one that is not there. */
typedef struct str (*webhook_header_fn)(const void *arg, const char *lower_case_name);

struct webhook *webhook_new(struct config *c, const struct hook *hook, int64_t wall_us);
void webhook_free(struct webhook *w);

/* Is this header one that a run may see? Never one that carries a secret; nor what only the transport needs. except: the
 * name of the trigger's own signature header. Lower-case names. */
bool webhook_header_wanted(struct str name, const char *except);

/* A header of interest (after content_type was set). name: in lower case, of at most 64 bytes. */
void webhook_header(struct webhook *w, const char *name, struct str value);
/* All of them as a JSON object, as they came. */
void webhook_headers(struct buf *out, const struct webhook *w);

/* Finds the JSON and checks it whole, and what event it is. ERR_MEDIA_TYPE or ERR_BAD_INPUT, saying what to send. */
bool webhook_read(struct webhook *w, webhook_header_fn header, const void *arg,
                  struct err *e) MUST_CHECK;
/* After webhook_read: does the trigger's list of events take it? */
bool webhook_wanted(const struct webhook *w);
/* After webhook_read: the run's input. */
void webhook_envelope(struct buf *out, const struct webhook *w);

void webhook_finish(void); /* at the end of the process */

#endif
