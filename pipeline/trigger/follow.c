/* SPDX-License-Identifier: Apache-2.0 */
/* The input of an after-stage is what Redis wrote at the end of a run; that of a kv trigger is the key that changed. The name under which the new run happens
 * once has the version of that input in it: the same end starts one run, however often the step is done; a retried run that ends again starts another. */
#include "trigger/follow.h"

#include "base/json.h"
#include "base/mem.h"
#include "core/claim.h"
#include "core/store.h"
#include "trigger/start.h"

struct op {
    struct claim *c;
};

static void on_started(void *arg, enum start_outcome outcome, struct str run, const struct err *e)
{
    static const char *const names[] = {[START_NEW] = "started",
                                        [START_DUPLICATE] = "started before",
                                        [START_JOINED] = "joined",
                                        [START_SKIPPED] = "skipped",
                                        [START_GONE] = "gone"};
    struct op *op = arg;
    struct buf out = {0};
    if (e != NULL) {
        claim_finish(op->c, err_retryable(e->code) ? CLAIM_RETRY : CLAIM_FAIL,
                     (struct str){NULL, 0}, e->text, -1);
    } else {
        buf_char(&out, '{');
        buf_json_field(&out, "run_id", run);
        buf_json_field(&out, "outcome", str_of(names[outcome]));
        buf_char(&out, '}');
        claim_finish(op->c, CLAIM_OK, buf_view(&out), NULL, -1);
    }
    buf_finish(&out);
    mem_free(op);
}

/* {"key","version","value"} of a key that changed; a value that is no JSON goes as a text. */
static void describe_key(struct buf *out, const struct claim *c)
{
    struct json *j = json_parse(c->value, NULL);
    buf_char(out, '{');
    buf_json_field(out, "key", c->key);
    buf_json_field_int(out, "version", c->version);
    if (j != NULL)
        buf_json_field_raw(out, "value", c->value);
    else
        buf_json_field(out, "value", c->value);
    buf_char(out, '}');
    json_free(j);
}

static void follow(struct claim *c)
{
    struct config *config = store_config();
    const struct pipeline *p = config_pipeline(config, str_of(c->stage->work.target));
    if (p == NULL) {
        claim_finish(c, CLAIM_FAIL, (struct str){NULL, 0},
                     "the job that it starts is not in the configuration", -1);
        return;
    }
    bool after = c->stage->after != 0;
    struct buf input = {0}, once = {0};
    struct json *end = after ? json_parse(c->value, NULL) : NULL;
    struct start_request r = {.pipeline = p, .cause = after ? "job" : "key", .delay_ms = -1};
    bool succeeded = str_is(json_str(json_get(end, "state")), "succeeded");
    if (!after)
        describe_key(&input, c);
    else if (succeeded && c->also_n != 0 && c->also[0].p != NULL)
        buf_str(&input, c->also[0]);
    else
        buf_str(&input, succeeded ? STR("{}") : c->value);
    if (after) {
        r.parent = c->run;
        r.depth = (int)json_int(json_path(end, "rec.depth"), 0) + 1;
    }
    buf_printf(&once, "follow:%s:", c->stage->id);
    buf_str(&once, c->key);
    buf_printf(&once, ":%lld", (long long)c->version);
    r.input = buf_view(&input);
    r.once = buf_view(&once);
    struct op *op = mem_new(struct op);
    op->c = c;
    start_run(config, &r, on_started, op);
    json_free(end);
    buf_finish(&input);
    buf_finish(&once);
}

static void run(struct claim *const *claims, size_t n)
{
    for (size_t i = 0; i < n; i++)
        follow(claims[i]);
}

void follow_start(void)
{
    static const struct claim_runner runner = {.run = run, .default_concurrency = 100};
    claim_register(WORK_START, &runner);
}
