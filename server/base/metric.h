/* SPDX-License-Identifier: Apache-2.0 */
/* Counters, gauges and histograms, each a row of metric.def, printed in the Prometheus text format
 * (version 0.0.4). One thread only. */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include <stdint.h>

#include "base/buf.h"

enum metric {
#define X(id, kind, name, label, help) id,
#include "base/metric.def"
#undef X
    METRIC_COUNT
};

void metric_add(enum metric m, double by); /* a row without a label */
void metric_add_for(enum metric m, const char *label,
                    double by); /* at most 256 label values a row, then "other" */
void metric_set(enum metric m, double value);
void metric_set_for(enum metric m, const char *label, double value);
void metric_observe_us(enum metric m, int64_t us);
double metric_value(enum metric m,
                    const char *label); /* for tests and the status page; label may be NULL */
void metric_render(struct buf *out);

#endif
