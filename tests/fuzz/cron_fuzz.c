/* SPDX-License-Identifier: Apache-2.0 */
/* Schedules as any bytes: what is taken has a next fire, behind the instant asked for, and the one before that instant's end comes again. The first eight
 * bytes are the instant. */
#include <string.h>

#include "base/cron.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const char *const zones[] = {
        "UTC",          "Europe/Berlin",    "Australia/Lord_Howe", "America/Santiago",
        "Pacific/Apia", "Africa/Casablanca"};
    struct cron c;
    struct err e;
    uint64_t any = 0;
    if (size < sizeof any)
        return 0;
    memcpy(&any, data, sizeof any);
    struct str text = {(const char *)data + sizeof any, size - sizeof any};
    if (!cron_parse(text, &c, &e)) {
        must(e.code == ERR_CONFIG && e.text[0] != '\0');
        return 0;
    }
    int64_t from = (int64_t)(any % UINT64_C(8000000000)); /* up to the year 2223 */
    const struct zone *z = zone_find(zones[any % 6], &e);
    int64_t at, again;
    must(z != NULL && cron_next(&c, z, from, &at) && at > from);
    must(cron_next(&c, z, at - 1, &again) && again == at);
    must(cron_next(&c, z, at, &again) && again > at);
    return 0;
}
