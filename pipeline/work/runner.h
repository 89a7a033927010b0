/* SPDX-License-Identifier: Apache-2.0 */
/* What the runners have in common, and how work.c sees them. */
#ifndef WORK_RUNNER_H
#define WORK_RUNNER_H

#include "config/config.h"
#include "core/claim.h"
#include "net/proc.h"

/* The live configuration (of the last work_configure); never NULL between work_start and the end. */
struct config *runner_config(void);
const struct settings *runner_settings(void);

/* Ends a cancelled claim after this turn, because a cancel callback must not end it itself. */
void runner_cancelled(struct claim *c);

/* A child's end in words: "was killed by SIGSEGV", "exited with status 3: last lines". */
void runner_describe_exit(struct buf *out, const struct proc_exit *x, struct str last_lines);
/* What a child's end means that was no success: of the statuses of sysexits.h, 64, 65, 77 and 78 say that it would be the same again. */
enum claim_outcome runner_exit_outcome(const struct proc_exit *x);
/* The setting kill_grace, as proc takes it. */
int64_t runner_kill_grace_ms(void);
/* Not to be started: for good (no such program), or for now (no more processes)? */
enum claim_outcome runner_spawn_outcome(const struct err *e);

/* Copies of NULL-terminated lists of strings; NULL gives NULL. */
char **runner_list_dup(char *const *list);
void runner_list_free(char **list);
bool runner_list_eq(char *const *a, char *const *b);

/* One more thing that work_stop waits for, or one less. */
void runner_busy(int by);

/* command.c: one process a value, or kept processes. */
extern const struct claim_runner command_runner;
void command_stop(void); /* kills what runs */

/* keep.c */
void keep_run(struct claim *c);
void keep_flush(void); /* after a batch of keep_run */
void keep_configure(void);

/* request.c */
extern const struct claim_runner request_runner;
void request_stop(void);

/* agent.c: an agent without code here. */
extern const struct claim_runner agent_runner;

/* deliver_step.c, alert.c: what follows a run */
extern const struct claim_runner deliver_runner;
void deliver_stop(void);
void deliver_finish(void);
extern const struct claim_runner alert_runner;
void alert_stop(void);

/* extension.c */
extern const struct claim_runner extension_runner;
void extension_configure(void);

#endif
