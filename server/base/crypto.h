/* SPDX-License-Identifier: Apache-2.0 */
/* What we need of OpenSSL besides TLS: HMAC-SHA256 (RFC 2104, FIPS 180-4), comparing without telling where two differ, Ed25519 (RFC 8032).
 * One thread only. */
#ifndef BASE_CRYPTO_H
#define BASE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum { CRYPTO_SHA256 = 32, CRYPTO_ED25519_KEY = 32, CRYPTO_ED25519_SIGNATURE = 64 };

/* A key that was set up once: hashing with it costs no key schedule. */
struct crypto_hmac;
struct crypto_hmac *crypto_hmac_new(struct str key);
void crypto_hmac_free(struct crypto_hmac *h); /* NULL is fine */
/* Over the parts as if they were one text. */
void crypto_hmac_sum(struct crypto_hmac *h, size_t n, const struct str *parts,
                     unsigned char out[CRYPTO_SHA256]);
void crypto_hmac_once(struct str key, size_t n, const struct str *parts,
                      unsigned char out[CRYPTO_SHA256]);
bool crypto_equal(struct str a, struct str b); /* in constant time for equal lengths */
void crypto_wipe(void *p, size_t n);           /* zeroes a key; NULL is fine */

bool crypto_ed25519_verify(const unsigned char key[CRYPTO_ED25519_KEY], struct str message,
                           struct str signature);
/* seed: the private key's 32 bytes. For signing what we send. */
bool crypto_ed25519_sign(const unsigned char seed[CRYPTO_ED25519_KEY], struct str message,
                         unsigned char out[CRYPTO_ED25519_SIGNATURE], struct err *e) MUST_CHECK;
void crypto_finish(void); /* at the end of the process */

#endif
