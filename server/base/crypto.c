/* SPDX-License-Identifier: Apache-2.0 */
/* OpenSSL looks an algorithm up by its name, and sets a key up, in more time than it takes to hash a small text. So the algorithm is
 * fetched once, and a key is set up once and reset before each text: EVP_MAC_init without a key keeps the one that it has. */
#include "base/crypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "base/mem.h"

static EVP_MAC *hmac;

struct crypto_hmac {
    EVP_MAC_CTX *mac;
};

struct crypto_hmac *crypto_hmac_new(struct str key)
{
    if (hmac == NULL)
        must((hmac = EVP_MAC_fetch(NULL, "HMAC", NULL)) != NULL);
    struct crypto_hmac *h = mem_new(struct crypto_hmac);
    must((h->mac = EVP_MAC_CTX_new(hmac)) != NULL);
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    /* NULL would mean "the key that it has"; an empty key is a key. */
    const char *bytes = key.n != 0 ? key.p : "";
    must(EVP_MAC_init(h->mac, (const unsigned char *)bytes, key.n, params) == 1);
    return h;
}

void crypto_hmac_free(struct crypto_hmac *h)
{
    if (h == NULL)
        return;
    EVP_MAC_CTX_free(h->mac);
    mem_free(h);
}

void crypto_hmac_sum(struct crypto_hmac *h, size_t n, const struct str *parts,
                     unsigned char out[CRYPTO_SHA256])
{
    must(EVP_MAC_init(h->mac, NULL, 0, NULL) == 1);
    for (size_t i = 0; i < n; i++) {
        if (parts[i].n != 0)
            must(EVP_MAC_update(h->mac, (const unsigned char *)parts[i].p, parts[i].n) == 1);
    }
    size_t size = 0;
    must(EVP_MAC_final(h->mac, out, &size, CRYPTO_SHA256) == 1 && size == CRYPTO_SHA256);
}

void crypto_hmac_once(struct str key, size_t n, const struct str *parts,
                      unsigned char out[CRYPTO_SHA256])
{
    struct crypto_hmac *h = crypto_hmac_new(key);
    crypto_hmac_sum(h, n, parts, out);
    crypto_hmac_free(h);
}

bool crypto_equal(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}

void crypto_wipe(void *p, size_t n)
{
    if (p != NULL)
        OPENSSL_cleanse(p, n);
}

bool crypto_ed25519_verify(const unsigned char key[CRYPTO_ED25519_KEY], struct str message,
                           struct str signature)
{
    EVP_PKEY *public = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, CRYPTO_ED25519_KEY);
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool good = public != NULL && digest != NULL && signature.n == CRYPTO_ED25519_SIGNATURE &&
                EVP_DigestVerifyInit(digest, NULL, NULL, NULL, public) == 1 &&
                EVP_DigestVerify(digest, (const unsigned char *)signature.p, signature.n,
                                 (const unsigned char *)message.p, message.n) == 1;
    EVP_MD_CTX_free(digest);
    EVP_PKEY_free(public);
    return good;
}

bool crypto_ed25519_sign(const unsigned char seed[CRYPTO_ED25519_KEY], struct str message,
                         unsigned char out[CRYPTO_ED25519_SIGNATURE], struct err *e)
{
    EVP_PKEY *private =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, CRYPTO_ED25519_KEY);
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    size_t n = CRYPTO_ED25519_SIGNATURE;
    bool good = private != NULL && digest != NULL &&
                EVP_DigestSignInit(digest, NULL, NULL, NULL, private) == 1 &&
                EVP_DigestSign(digest, out, &n, (const unsigned char *)message.p, message.n) == 1;
    EVP_MD_CTX_free(digest);
    EVP_PKEY_free(private);
    return good || err_fail(e, ERR_SYSTEM, "this build of OpenSSL does not sign with Ed25519");
}

void crypto_finish(void)
{
    EVP_MAC_free(hmac);
    hmac = NULL;
}
