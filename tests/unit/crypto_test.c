/* SPDX-License-Identifier: Apache-2.0 */
/* By the vectors of RFC 4231 (HMAC-SHA256) and RFC 8032 (Ed25519). */
#include <check.h>
#include <string.h>

#include "base/crypto.h"

Suite *crypto_suite(void);

static void bytes_of(struct buf *out, const char *hex)
{
    size_t n = strlen(hex) / 2;
    buf_clear(out);
    buf_reserve(out, n + 1);
    ck_assert(hex_decode(str_of(hex), (unsigned char *)out->p, n));
    out->n = n;
}

static const struct {
    const char *key;
    const char *text;
    const char *sum;
} hmacs[] = {
    {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
    {"4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    {"0102030405060708090a0b0c0d0e0f10111213141516171819",
     "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdc"
     "dcdcd"
     "cd",
     "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
};

START_TEST(hmac_sha256_gives_the_sums_of_rfc_4231)
{
    for (size_t i = 0; i < sizeof hmacs / sizeof hmacs[0]; i++) {
        struct buf key = {0}, text = {0}, hex = {0};
        unsigned char sum[CRYPTO_SHA256];
        bytes_of(&key, hmacs[i].key);
        bytes_of(&text, hmacs[i].text);
        struct crypto_hmac *h = crypto_hmac_new(buf_view(&key));
        for (int again = 0; again < 2; again++) { /* in parts, and with a key that was used */
            const struct str parts[] = {{text.p, 3}, {NULL, 0}, {text.p + 3, text.n - 3}};
            crypto_hmac_sum(h, 3, parts, sum);
            buf_clear(&hex);
            buf_hex(&hex, sum, sizeof sum);
            ck_assert_str_eq(hex.p, hmacs[i].sum);
        }
        crypto_hmac_free(h);
        buf_finish(&key);
        buf_finish(&text);
        buf_finish(&hex);
    }
}
END_TEST

START_TEST(an_empty_key_and_an_empty_text_have_a_sum_too)
{
    unsigned char sum[CRYPTO_SHA256];
    struct buf hex = {0};
    crypto_hmac_once((struct str){NULL, 0}, 0, NULL, sum);
    buf_hex(&hex, sum, sizeof sum);
    ck_assert_str_eq(hex.p, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
    buf_finish(&hex);
}
END_TEST

static const struct {
    const char *seed;
    const char *key;
    const char *text;
    const char *signature;
} signatures[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b"
     "4"
     "6bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11"
     "d"
     "8c387b2eaeb4302aeeb00d291612bb0c00"},
};

START_TEST(ed25519_gives_the_signatures_of_rfc_8032)
{
    for (size_t i = 0; i < sizeof signatures / sizeof signatures[0]; i++) {
        unsigned char seed[32], key[CRYPTO_ED25519_KEY], out[CRYPTO_ED25519_SIGNATURE];
        struct buf text = {0}, want = {0};
        struct err e;
        ck_assert(hex_decode(str_of(signatures[i].seed), seed, sizeof seed));
        ck_assert(hex_decode(str_of(signatures[i].key), key, sizeof key));
        bytes_of(&text, signatures[i].text);
        bytes_of(&want, signatures[i].signature);
        ck_assert(crypto_ed25519_sign(seed, buf_view(&text), out, &e));
        ck_assert_int_eq(memcmp(out, want.p, sizeof out), 0);
        ck_assert(crypto_ed25519_verify(key, buf_view(&text), buf_view(&want)));
        want.p[5] ^= 1;
        ck_assert(!crypto_ed25519_verify(key, buf_view(&text), buf_view(&want)));
        want.p[5] ^= 1;
        ck_assert(!crypto_ed25519_verify(key, STR("other"), buf_view(&want)));
        ck_assert(!crypto_ed25519_verify(key, buf_view(&text), (struct str){want.p, want.n - 1}));
        key[0] ^= 1;
        ck_assert(!crypto_ed25519_verify(key, buf_view(&text), buf_view(&want)));
        buf_finish(&text);
        buf_finish(&want);
    }
}
END_TEST

START_TEST(equal_is_of_length_and_bytes)
{
    ck_assert(crypto_equal(STR("abc"), STR("abc")));
    ck_assert(crypto_equal(STR(""), (struct str){NULL, 0}));
    ck_assert(!crypto_equal(STR("abc"), STR("abd")));
    ck_assert(!crypto_equal(STR("abc"), STR("ab")));
}
END_TEST

Suite *crypto_suite(void)
{
    Suite *s = suite_create("crypto");
    TCase *t = tcase_create("crypto");
    tcase_add_checked_fixture(t, NULL, crypto_finish);
    tcase_add_test(t, hmac_sha256_gives_the_sums_of_rfc_4231);
    tcase_add_test(t, an_empty_key_and_an_empty_text_have_a_sum_too);
    tcase_add_test(t, ed25519_gives_the_signatures_of_rfc_8032);
    tcase_add_test(t, equal_is_of_length_and_bytes);
    suite_add_tcase(s, t);
    return s;
}
