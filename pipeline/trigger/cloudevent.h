/* SPDX-License-Identifier: Apache-2.0 */
/* CloudEvents 1.0 over HTTP (its HTTP protocol binding and JSON format): one event a request, in binary or structured mode. A batch is refused, because one
 * delivery is one run. No I/O. */
#ifndef TRIGGER_CLOUDEVENT_H
#define TRIGGER_CLOUDEVENT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

enum cloudevent_mode {
    CLOUDEVENT_NONE,
    CLOUDEVENT_BINARY,
    CLOUDEVENT_STRUCTURED,
    CLOUDEVENT_BATCH
};

typedef struct str (*cloudevent_header_fn)(const void *arg, const char *lower_case_name);
/* type: the media type alone. */
enum cloudevent_mode cloudevent_mode(struct str type, cloudevent_header_fn header, const void *arg);

/* A header's value and its text: all but printable ASCII stands %-encoded there, and so do space, quote and percent; decoding takes quotes around it too. */
void cloudevent_encode(struct buf *out, struct str text);
bool cloudevent_decode(struct buf *out, struct str value); /* false: a bad escape */

struct cloudevent {
    struct buf
        *attributes;   /* gets members of a JSON object, as headers of binary mode: "ce-id":"..." */
    struct buf *names; /* holds type and id */
    struct buf *decoded; /* holds the data when it is not a slice of the body */
    struct str type;
    struct str id;   /* source and id */
    struct str data; /* JSON */
};

/* ERR_BAD_INPUT names the attribute and what is wrong with it. Whether data that is said to be JSON is valid is not looked at. scan: scratch. In binary
 * mode attributes gets what is said of the data alone: who has the headers knows the others. */
bool cloudevent_binary(struct cloudevent *c, cloudevent_header_fn header, const void *arg,
                       struct str type, struct str body, struct jscan *scan,
                       struct err *e) MUST_CHECK;
bool cloudevent_structured(struct cloudevent *c, struct str body, struct jscan *scan,
                           struct err *e) MUST_CHECK;

#endif
