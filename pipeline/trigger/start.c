/* SPDX-License-Identifier: Apache-2.0 */
/* A path such as .payload.repository.id is looked up by the scanner of the accept path, so a job without gates costs nothing here, and one with them no
 * tree of its input. */
#include "trigger/start.h"

#include <string.h>

void start_gate(const struct job *j, struct str input, struct gate *out, struct buf *text)
{
    (void)input;
    (void)text;
    *out = (struct gate){0};
    if (j == NULL)
        return;
}
