/* SPDX-License-Identifier: Apache-2.0 */
/* Work that starts a job: on_complete, on_failure, and changes of keys. It is a stage like any other; the run that it starts is named after its input, so that
 * doing it again starts nothing new. */
#ifndef TRIGGER_FOLLOW_H
#define TRIGGER_FOLLOW_H

void follow_start(void); /* registers the runner of WORK_START */

#endif
