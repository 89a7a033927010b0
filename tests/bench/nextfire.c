/* SPDX-License-Identifier: Apache-2.0 */
/* nextfire FIRES: for each "ZONE<tab>EXPRESSION" line of stdin the nanoseconds a next fire takes, one from the other, beginning at noon of 2026-03-28. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cron.h"

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    char line[256];
    int fires = argc > 1 ? atoi(argv[1]) : 100000;
    while (fgets(line, sizeof line, stdin) != NULL) {
        struct cron c;
        struct err e;
        char *expression = strchr(line, '\t');
        line[strcspn(line, "\n")] = '\0';
        *expression++ = '\0';
        const struct zone *z = zone_find(line, &e);
        if (z == NULL || !cron_parse(str_of(expression), &c, &e)) {
            fprintf(stderr, "nextfire: %s\n", e.text);
            return 1;
        }
        int64_t from = 1774699200, at = from;
        double start = now_ns();
        for (int i = 0; i < fires; i++) {
            if (!cron_next(&c, z, at, &at))
                at = from;
            if (at >
                from + INT64_C(3000000000)) /* some hundred years: the years of real schedules */
                at = from;
        }
        printf("%.1f %lld\n", (now_ns() - start) / fires, (long long)at);
    }
    return 0;
}
