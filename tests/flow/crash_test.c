/* SPDX-License-Identifier: Apache-2.0 */
/* kill -9 of the server while documents are between accepted, claimed and written: none is lost, none has a second effect.
 * "Second effect" is seen by versions: every key of every document must have been written exactly once. */
#include "flow/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum { DOCUMENTS_N = 10000, KILLS = 20, BATCH = 500 };

/* Puts BATCH documents from `from` on; how many of them were confirmed before the server was killed in between. */
static void put_batch(struct world *w, int from, bool *confirmed)
{
    struct buf lines = {0};
    for (int i = from; i < from + BATCH; i++)
        buf_printf(&lines,
                   "{\"key\":\"pipeline.doc-%d.raw\",\"value\":{\"id\":\"doc-%d\",\"title\":\"T\","
                   "\"body\":\"One two "
                   "Three four\"},\"if_version\":0}\n",
                   i, i);
    struct world_reply r =
        world_http(w, "POST", "/v1/kv", "Content-Type: application/x-ndjson\r\n", buf_view(&lines));
    struct str rest = buf_view(&r.body);
    for (int i = from; r.status == 200 && rest.p != NULL && i < from + BATCH; i++) {
        struct str line = str_split(&rest, '\n');
        /* "version does not match" on the second try means that the first one got through. */
        confirmed[i] = line.n != 0 && line.p[line.n - 1] == '}';
    }
    world_reply_finish(&r);
    buf_finish(&lines);
}

struct progress {
    struct world *w;
    int64_t want;
};

static bool enough(void *arg)
{
    struct progress *p = arg;
    return world_redis_int(p->w, "GET hm:seq") >= p->want;
}

START_TEST(no_document_is_lost_or_doubled_by_twenty_kills)
{
    struct world *w = world_make();
    world_config_dir(w, HOOKMESH_SOURCE_DIR "/config/documents");
    world_redis_start(w);
    world_start(w);
    bool *confirmed = mem_zero(DOCUMENTS_N, sizeof *confirmed);
    int64_t seq = 0;
    for (int kill = 0; kill < KILLS; kill++) {
        put_batch(w, kill * BATCH, confirmed);
        /* The kill comes at another point of the work each time: after so many of this batch's 1500 events. */
        struct progress p = {w, seq + 500 + kill * 50};
        ck_assert(world_wait_until(enough, &p, WORLD_TIMEOUT_MS));
        world_kill9(w);
        world_start(w);
        seq = world_redis_int(w, "GET hm:seq");
    }
    for (int i = 0; i < DOCUMENTS_N; i++)
        ck_assert_msg(confirmed[i], "document %d was not confirmed", i);
    struct progress all = {w, 3 * DOCUMENTS_N};
    if (!world_wait_until(enough, &all, WORLD_TIMEOUT_MS))
        world_fail(w, "only %lld events", (long long)world_redis_int(w, "GET hm:seq"));
    for (int i = 0; i < DOCUMENTS_N; i += 100) {
        struct buf script = {0};
        buf_puts(&script, "local n = 0 for i = tonumber(ARGV[1]), tonumber(ARGV[1]) + 99 do for _, "
                          "s in ipairs({'raw','extracted','summary'}) do "
                          "if redis.call('HGET', 'hm:kv:pipeline.doc-' .. i .. '.' .. s, "
                          "'version') == '1' then n = n + 1 end end end return n");
        char from[16];
        snprintf(from, sizeof from, "%d", i);
        struct str argv[] = {STR("EVAL"), buf_view(&script), STR("0"), str_of(from)};
        char *n = world_redis_argv(w, 4, argv);
        ck_assert_str_eq(n, "300");
        mem_free(n);
        buf_finish(&script);
    }
    ck_assert_int_eq(world_redis_int(w, "ZCARD hm:dead"), 0);
    mem_free(confirmed);
    world_free(w);
}
END_TEST

Suite *crash_suite(void)
{
    Suite *s = suite_create("crash");
    TCase *t = tcase_create("crash");
    tcase_set_timeout(t, 280);
    tcase_add_test(t, no_document_is_lost_or_doubled_by_twenty_kills);
    suite_add_tcase(s, t);
    return s;
}
