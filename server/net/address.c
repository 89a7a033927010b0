/* SPDX-License-Identifier: Apache-2.0 */
/* Two tables of prefixes that are not public. IPv6 ranges which carry an IPv4 address (mapped, NAT64, 6to4) are
 * judged by that address, or they would be a way around the first table. */
#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

struct prefix {
    uint8_t bytes[16];
    unsigned bits;
};

static const struct prefix private_v4[] = {
    {{0}, 8},             /* this host */
    {{10}, 8},            /* private */
    {{100, 64}, 10},      /* shared by carriers */
    {{127}, 8},           /* loopback */
    {{169, 254}, 16},     /* link-local, clouds' metadata */
    {{172, 16}, 12},      /* private */
    {{192, 0, 0}, 24},    /* protocol assignments */
    {{192, 0, 2}, 24},    /* documentation */
    {{192, 88, 99}, 24},  /* 6to4 relays */
    {{192, 168}, 16},     /* private */
    {{198, 18}, 15},      /* benchmarks */
    {{198, 51, 100}, 24}, /* documentation */
    {{203, 0, 113}, 24},  /* documentation */
    {{224}, 4},           /* multicast */
    {{240}, 4},           /* reserved, broadcast */
};

static const struct prefix private_v6[] = {
    {{0}, 8},                             /* unspecified, loopback, IPv4-compatible */
    {{0x00, 0x64, 0xff, 0x9b, 0, 1}, 48}, /* NAT64 for local use */
    {{0x01, 0x00}, 64},                   /* discard */
    {{0x20, 0x01, 0x00}, 23},             /* protocol assignments, Teredo */
    {{0x20, 0x01, 0x0d, 0xb8}, 32},       /* documentation */
    {{0x3f, 0xff, 0x00}, 20},             /* documentation */
    {{0x5f, 0x00}, 16},                   /* segment routing */
    {{0xfc}, 7},                          /* unique local */
    {{0xfe, 0x80}, 10},                   /* link-local */
    {{0xfe, 0xc0}, 10},                   /* site-local */
    {{0xff}, 8},                          /* multicast */
};

/* Where an IPv4 address stands behind a prefix. */
static const struct {
    struct prefix prefix;
    size_t offset;
} carriers[] = {
    {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96}, 12},
    {{{0x00, 0x64, 0xff, 0x9b}, 96}, 12},
    {{{0x20, 0x02}, 16}, 2},
};

static bool within(const uint8_t *address, const struct prefix *p)
{
    size_t whole = p->bits / 8;
    if (memcmp(address, p->bytes, whole) != 0)
        return false;
    unsigned rest = p->bits % 8;
    return rest == 0 || ((address[whole] ^ p->bytes[whole]) >> (8 - rest)) == 0;
}

static bool is_public_v4(const uint8_t *address)
{
    for (size_t i = 0; i < sizeof private_v4 / sizeof private_v4[0]; i++) {
        if (within(address, &private_v4[i]))
            return false;
    }
    return true;
}

static bool is_public_v6(const uint8_t *address)
{
    for (size_t i = 0; i < sizeof carriers / sizeof carriers[0]; i++) {
        if (within(address, &carriers[i].prefix))
            return is_public_v4(address + carriers[i].offset);
    }
    for (size_t i = 0; i < sizeof private_v6 / sizeof private_v6[0]; i++) {
        if (within(address, &private_v6[i]))
            return false;
    }
    return true;
}

bool address_is_public(const struct sockaddr *a)
{
    uint8_t bytes[16];
    if (a->sa_family == AF_INET) {
        memcpy(bytes, (const char *)a + offsetof(struct sockaddr_in, sin_addr), 4);
        return is_public_v4(bytes);
    }
    if (a->sa_family == AF_INET6) {
        memcpy(bytes, (const char *)a + offsetof(struct sockaddr_in6, sin6_addr), 16);
        return is_public_v6(bytes);
    }
    return false;
}
