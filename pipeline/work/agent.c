/* SPDX-License-Identifier: Apache-2.0 */
/* An agent that has a name and a prompt, but nothing here that could do its work. Its steps fail at once, with what to add: trying again would not
 * make a difference, and a step that waited for code would look like one that works. */
#include <stdio.h>

#include "work/runner.h"

static void run(struct claim *const *claims, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char why[400];
        snprintf(why, sizeof why,
                 "agent %s has no code here: give it command:, http:, or extension: with job: in "
                 "its definition",
                 claims[i]->stage->work.agent);
        claim_finish(claims[i], CLAIM_FAIL, (struct str){NULL, 0}, why, -1);
    }
}

const struct claim_runner agent_runner = {.run = run, .default_concurrency = 100};
