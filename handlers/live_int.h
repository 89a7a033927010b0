/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the live stream share.
 *
 * A client is always in one of five states. Its own order of events is kept by one rule: while anything but LIVE, events that
 * the shared reader brings for it are held, and everything above hold_from is in the hold. So whatever it is
 * given meanwhile, a snapshot as of event S or old events from the log up to hold_from, the hold goes on exactly
 * there.
 *
 *     IDLE --subscribe--> WAITING --snapshot--> LIVE --too slow--> LAGGED --drained--> WAITING
 *                            \--after--> CATCHING_UP --hold reached--> LIVE */
#ifndef HANDLERS_LIVE_INT_H
#define HANDLERS_LIVE_INT_H

#include "base/buf.h"
#include "base/json.h"
#include "base/list.h"
#include "base/map.h"
#include "core/event.h"
#include "net/hub.h"

enum { LIVE_TOPICS_MAX = 64, LIVE_RUN_NAME_MAX = 512 };

struct live_client;

enum live_kind { LIVE_RUNS, LIVE_RUN, LIVE_KEYS, LIVE_DELIVERIES, LIVE_PIPELINES, LIVE_AGENTS };

struct live_topic {
    struct map_node node;
    struct list link; /* among the patterns, when it is one */
    char *name;
    enum live_kind kind;
    struct str arg;         /* the run's id or the pattern, inside name */
    struct live_sub **subs; /* in no order */
    size_t n, cap;
    uint64_t matched; /* the event that it was last found to match */
    uint64_t encoded; /* the event that message is the text of */
    struct hub_msg *message;
};

struct live_sub {
    struct live_client *client;
    struct live_topic *topic;
    size_t at;  /* in topic->subs */
    bool named; /* belongs into the snapshot that is being taken */
    bool fresh; /* has had no snapshot yet: events up to its id are not for the client */
};

enum live_state { LIVE_IDLE, LIVE_WAITING, LIVE_CATCHING_UP, LIVE_LIVE, LIVE_LAGGED };

struct live_held {
    uint64_t id;
    struct live_sub *sub;
    struct hub_msg *message;
};

struct live_client {
    uint32_t magic;
    enum live_state state;
    struct list link;       /* among all clients */
    struct list queue;      /* in a round, a catch-up, or the paused ones */
    struct hub_client *hub; /* NULL: closed */
    struct live_sub **subs; /* in the order in which they were asked for */
    uint32_t sub_n;
    uint32_t strikes;
    bool resumes;       /* the first subscribe had `after` */
    bool lag_told;      /* handle_lag is on its way */
    uint64_t sent;      /* id of the last event it was given */
    uint64_t seen;      /* catching up: id of the last event looked at; at first its `after` */
    uint64_t hold_from; /* events above are in the hold */
    struct hub_msg *snapshot; /* kept until the reader has brought what is older */
    uint64_t snapshot_id;
    struct live_held *held;
    uint32_t held_n, held_cap;
    int64_t lag_wait_ms;
    int64_t lag_due_us;
    struct buf later; /* messages to be handled once it is live: each with a NUL behind */
};

struct live_self {
    struct list clients;
    size_t queue_max; /* of the hub's service */
    struct event_reader *reader;
    uint64_t position; /* id of the last event of the shared reader */
    struct list gathering;
    size_t rounds; /* under way */
    bool round_planned;
    struct list catch_ups;
    struct list paused;
    struct list awaiting;  /* clients whose snapshot is ahead of the reader */
    struct timer *tick;    /* looks after paused and lagged clients */
    struct timer *map_due; /* the pipelines' map */
    struct timer *retry;   /* of rounds that Redis failed */
    size_t sub_n;          /* of all clients */
    bool stalled;
    bool started;
    bool stopping;
};
extern struct live_self live;

/* live.c */
void live_send(struct live_client *c, struct hub_msg *m);
void live_say(struct live_client *c, const struct buf *text);
void live_hold(struct live_client *c, struct live_sub *sub, uint64_t id, struct hub_msg *m);
void live_drop_hold(struct live_client *c);
/* Sends what is held above its last event, and it is live. */
void live_go(struct live_client *c);
/* Everything from anew, after it was told why. */
void live_resync(struct live_client *c, const char *reason);
void live_tell_stalled(bool stalled, const char *detail);

/* live_topic.c */
/* What a name means; *arg: where the run's id or the pattern begins in it. */
bool live_topic_parse(struct str name, enum live_kind *kind, size_t *arg, struct err *e) MUST_CHECK;
void live_topic_encode(struct buf *out, const struct live_topic *t, const struct event *ev);
struct live_topic *live_topic_get(struct str name, struct err *e); /* made when it is new */
void live_topic_add(struct live_topic *t, struct live_sub *s);
void live_topic_remove(struct live_sub *s); /* the last one takes the topic with it */
void live_topic_each_matching(const struct event *ev,
                              void (*fn)(struct live_topic *t, const struct event *ev));
bool live_topic_matches(const struct live_topic *t, const struct event *ev);
struct hub_msg *live_topic_message(struct live_topic *t, const struct event *ev); /* borrowed */
struct live_topic *live_topic_find(struct str name);
void live_topic_finish(void);

/* live_read.c */
void live_reader_start(uint64_t position);
void live_reader_stop(void);
void live_catch_up(struct live_client *c); /* from c->seen on to c->hold_from */
void live_look_after_paused(void);
void live_end_empty_catch_ups(void);
void live_map_send_soon(bool forced); /* it may have changed; forced: somebody has not seen it */
void live_map_send(void);
void live_read_finish(void);

/* live_snapshot.c */
void live_snapshot_join(struct live_client *c); /* is WAITING, its named topics are asked for */
void live_snapshot_retry(void);
void live_snapshot_deliver(void); /* those that the reader has reached */

#endif
