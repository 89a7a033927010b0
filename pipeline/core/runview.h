/* SPDX-License-Identifier: Apache-2.0 */
/* Which pipeline a run belongs to, for those in core/ that act on runs; the views themselves are declared in core/run.h. */
#ifndef CORE_RUNVIEW_H
#define CORE_RUNVIEW_H

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"

/* p NULL: the run's pipeline is not in the configuration (any more). Fires later, once. */
typedef void (*runview_pipeline_fn)(void *arg, const struct pipeline *p, const struct err *e);
void runview_pipeline(struct str run, runview_pipeline_fn fn, void *arg);

#endif
