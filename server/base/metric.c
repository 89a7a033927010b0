/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metric.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum kind { COUNTER, GAUGE, HISTOGRAM };
enum { LABELS_MAX = 256 };

static const struct {
    enum kind kind;
    const char *name;
    const char *label;
    const char *help;
} rows[METRIC_COUNT] = {
#define X(id, kind, name, label, help) {kind, name, label, help},
#include "base/metric.def"
#undef X
};

static const double bounds[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                0.1,    0.25,    0.5,    1,     2.5,    5,     10,   60};
enum { BOUNDS = sizeof bounds / sizeof bounds[0] };

struct series {
    char *label;
    double value; /* of a histogram: the sum in seconds */
    uint64_t *buckets;
};

static struct {
    struct series *series;
    size_t n;
} data[METRIC_COUNT];

static struct series *find(enum metric m, const char *label)
{
    for (size_t i = 0; i < data[m].n; i++) {
        if (strcmp(data[m].series[i].label, label) == 0)
            return &data[m].series[i];
    }
    if (data[m].n == LABELS_MAX && strcmp(label, "other") != 0)
        return find(m, "other");
    data[m].series = mem_resize(data[m].series, (data[m].n + 1) * sizeof *data[m].series);
    struct series *s = &data[m].series[data[m].n++];
    *s = (struct series){.label = mem_strdup(label)};
    if (rows[m].kind == HISTOGRAM)
        s->buckets = mem_zero(BOUNDS + 1, sizeof *s->buckets);
    return s;
}

void metric_add_for(enum metric m, const char *label, double by)
{
    find(m, label)->value += by;
}

void metric_add(enum metric m, double by)
{
    metric_add_for(m, "", by);
}

void metric_set_for(enum metric m, const char *label, double value)
{
    find(m, label)->value = value;
}

void metric_set(enum metric m, double value)
{
    metric_set_for(m, "", value);
}

void metric_observe_us(enum metric m, int64_t us)
{
    struct series *s = find(m, "");
    double seconds = (double)us / 1e6;
    size_t i = 0;
    while (i < BOUNDS && seconds > bounds[i])
        i++;
    s->buckets[i]++;
    s->value += seconds;
}

double metric_value(enum metric m, const char *label)
{
    const char *want = label == NULL ? "" : label;
    for (size_t i = 0; i < data[m].n; i++) {
        if (strcmp(data[m].series[i].label, want) == 0)
            return data[m].series[i].value;
    }
    return 0;
}

static void number(struct buf *out, double v)
{
    if (floor(v) == v && fabs(v) < 9e15)
        buf_printf(out, " %lld\n", (long long)v);
    else
        buf_printf(out, " %.9g\n", v);
}

static void label_value(struct buf *out, const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\')
            buf_char(out, '\\');
        if (*s == '\n')
            buf_puts(out, "\\n");
        else
            buf_char(out, *s);
    }
}

static void render_series(struct buf *out, enum metric m, const struct series *s)
{
    if (rows[m].kind == HISTOGRAM) {
        uint64_t total = 0;
        for (size_t i = 0; i <= BOUNDS; i++) {
            total += s->buckets[i];
            if (i < BOUNDS)
                buf_printf(out, "%s_bucket{le=\"%g\"} %llu\n", rows[m].name, bounds[i],
                           (unsigned long long)total);
        }
        buf_printf(out, "%s_bucket{le=\"+Inf\"} %llu\n", rows[m].name, (unsigned long long)total);
        buf_printf(out, "%s_sum %.9g\n%s_count %llu\n", rows[m].name, s->value, rows[m].name,
                   (unsigned long long)total);
        return;
    }
    buf_puts(out, rows[m].name);
    if (rows[m].label[0] != '\0') {
        buf_printf(out, "{%s=\"", rows[m].label);
        label_value(out, s->label);
        buf_puts(out, "\"}");
    }
    number(out, s->value);
}

void metric_render(struct buf *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    for (enum metric m = 0; m < METRIC_COUNT; m++) {
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", rows[m].name, rows[m].help, rows[m].name,
                   kinds[rows[m].kind]);
        if (rows[m].label[0] == '\0')
            find(m, "");
        for (size_t i = 0; i < data[m].n; i++)
            render_series(out, m, &data[m].series[i]);
    }
}
