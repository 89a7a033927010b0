/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <check.h>
#include <string.h>
#include <sys/socket.h>

#include "net/address.h"

Suite *address_suite(void);

static bool is_public(const char *text)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a;
    memset(&a, 0, sizeof a);
    a.any.sa_family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
    void *to = a.any.sa_family == AF_INET ? (void *)&a.v4.sin_addr : (void *)&a.v6.sin6_addr;
    ck_assert_msg(inet_pton(a.any.sa_family, text, to) == 1, "%s", text);
    return address_is_public(&a.any);
}

/* The last one in each range, and the first behind it. */
static const char *const private_ones[] = {
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.169.254",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.255",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.255.255",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "100::1",
    "2001::1",
    "2001:1ff::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
};

static const char *const public_ones[] = {
    "1.0.0.0",         "9.255.255.255", "11.0.0.0",        "100.63.255.255", "100.128.0.0",
    "126.0.0.1",       "128.0.0.1",     "169.253.0.1",     "172.15.0.1",     "172.32.0.1",
    "192.0.1.1",       "192.167.0.1",   "192.169.0.1",     "198.17.0.1",     "198.20.0.1",
    "223.255.255.255", "8.8.8.8",       "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808",
    "2002:808:808::",  "2001:200::1",   "2001:db9::1",     "fbff::1",
};

START_TEST(addresses_that_are_not_of_the_internet_are_private)
{
    ck_assert_msg(!is_public(private_ones[_i]), "%s", private_ones[_i]);
}
END_TEST

START_TEST(addresses_beside_the_private_ranges_are_public)
{
    ck_assert_msg(is_public(public_ones[_i]), "%s", public_ones[_i]);
}
END_TEST

START_TEST(other_families_are_not_public)
{
    struct sockaddr a = {.sa_family = AF_UNIX};
    ck_assert(!address_is_public(&a));
}
END_TEST

Suite *address_suite(void)
{
    Suite *s = suite_create("address");
    TCase *t = tcase_create("address");
    tcase_add_loop_test(t, addresses_that_are_not_of_the_internet_are_private, 0,
                        sizeof private_ones / sizeof private_ones[0]);
    tcase_add_loop_test(t, addresses_beside_the_private_ranges_are_public, 0,
                        sizeof public_ones / sizeof public_ones[0]);
    tcase_add_test(t, other_families_are_not_public);
    suite_add_tcase(s, t);
    return s;
}
