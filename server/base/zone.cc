/* SPDX-License-Identifier: Apache-2.0 */
/* A C face for cctz. It knows zones by their names in the IANA database alone: cctz would also open paths, take "localtime" from
 * the environment, and make zones of fixed offsets up, and a schedule must mean the same on every server. */
#include <cctz/civil_time.h>
#include <cctz/time_zone.h>

extern "C" {
#include "base/zone.h"
}

#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <string>

struct zone {
    cctz::time_zone tz;
};

using instant = cctz::time_point<cctz::seconds>;

static instant at(int64_t s)
{
    return instant(cctz::seconds(s));
}

static int64_t count(const instant &t)
{
    return t.time_since_epoch().count();
}

static bool is_name(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > 64 || name[0] == '/' || strstr(name, "..") != nullptr)
        return false;
    if (strncmp(name, "Fixed/", 6) == 0 || strcmp(name, "localtime") == 0)
        return false;
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-_/") == n;
}

extern "C" const struct zone *zone_find(const char *name, struct err *e)
{
    static auto &known = *new std::map<std::string, std::unique_ptr<zone>>;
    if (name == nullptr)
        name = "UTC";
    auto found = known.find(name);
    if (found != known.end())
        return found->second.get();
    auto made = std::make_unique<zone>();
    if (!is_name(name) || !cctz::load_time_zone(name, &made->tz)) {
        err_fail(e, ERR_CONFIG,
                 "there is no time zone \"%.64s\"; use a name of the IANA database, such as "
                 "Europe/Berlin or UTC",
                 name);
        return nullptr;
    }
    return (known[name] = std::move(made)).get();
}

extern "C" void zone_civil(const struct zone *z, int64_t at_s, struct civil *out, int *offset_s)
{
    auto l = z->tz.lookup(at(at_s));
    int64_t days = (at_s + l.offset) / 86400 - ((at_s + l.offset) % 86400 < 0 ? 1 : 0);
    out->year = static_cast<int>(l.cs.year());
    out->month = l.cs.month();
    out->day = l.cs.day();
    out->hour = l.cs.hour();
    out->minute = l.cs.minute();
    out->second = l.cs.second();
    out->weekday = static_cast<int>(((days + 4) % 7 + 7) % 7); /* 1 January 1970 was a Thursday */
    *offset_s = l.offset;
}

extern "C" enum zone_kind zone_instant(const struct zone *z, const struct civil *c, int64_t *first,
                                       int64_t *last)
{
    auto l =
        z->tz.lookup(cctz::civil_second(c->year, c->month, c->day, c->hour, c->minute, c->second));
    switch (l.kind) {
    case cctz::time_zone::civil_lookup::SKIPPED:
        *first = count(l.trans);
        *last = count(l.pre);
        return ZONE_SKIPPED;
    case cctz::time_zone::civil_lookup::REPEATED:
        *first = count(l.pre);
        *last = count(l.post);
        return ZONE_REPEATED;
    case cctz::time_zone::civil_lookup::UNIQUE: break;
    }
    *first = *last = count(l.pre);
    return ZONE_UNIQUE;
}

extern "C" bool zone_next_change(const struct zone *z, int64_t at_s, int64_t *out_s)
{
    cctz::time_zone::civil_transition t;
    instant from = at(at_s);
    /* A change of the zone's abbreviation alone is none. */
    while (z->tz.next_transition(from, &t)) {
        from = z->tz.lookup(t.to).trans;
        if (t.from != t.to) {
            *out_s = count(from);
            return true;
        }
    }
    return false;
}

extern "C" void zone_rfc3339(struct buf *out, const struct zone *z, int64_t at_s)
{
    struct civil c;
    int offset;
    zone_civil(z, at_s, &c, &offset);
    int minutes = (offset < 0 ? -offset : offset) / 60;
    buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d%c%02d:%02d", c.year, c.month, c.day, c.hour,
               c.minute, c.second, offset < 0 ? '-' : '+', minutes / 60, minutes % 60);
}
