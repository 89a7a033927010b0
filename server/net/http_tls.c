/* SPDX-License-Identifier: Apache-2.0 */
/* The TLS settings of the public port: 1.2 and later, no compression, no renegotiation; by ALPN HTTP/1.1, and HTTP/2 where it is
 * switched on. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#include "net/http_conn.h"

static bool failed(struct err *e, const char *what, const char *file)
{
    char text[160] = "";
    ERR_error_string_n(ERR_peek_last_error(), text, sizeof text);
    ERR_clear_error();
    return err_fail(e, ERR_CONFIG, "cannot use the %s %s: %s", what, file, text);
}

/* The arg is what we offer, in our order. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                   const unsigned char *in, unsigned in_n, void *arg)
{
    (void)ssl;
    const char *ours = arg;
    unsigned char *chosen;
    int rc = SSL_select_next_proto(&chosen, out_n, (const unsigned char *)ours,
                                   (unsigned)strlen(ours), in, in_n);
    *out = chosen;
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool set_up(SSL_CTX *tls, const struct http_options *o, struct err *e)
{
    static char with_http2[] = "\x02h2\x08http/1.1";
    static char without_http2[] = "\x08http/1.1";
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_options(tls, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(tls, on_alpn, o->http2 ? with_http2 : without_http2);
    if (SSL_CTX_use_certificate_chain_file(tls, o->tls_cert) != 1)
        return failed(e, "certificate", o->tls_cert);
    if (SSL_CTX_use_PrivateKey_file(tls, o->tls_key, SSL_FILETYPE_PEM) != 1)
        return failed(e, "private key", o->tls_key);
    if (SSL_CTX_check_private_key(tls) != 1)
        return failed(e, "private key (it does not fit the certificate)", o->tls_key);
    return true;
}

SSL_CTX *http_tls_new(const struct http_options *o, struct err *e)
{
    if (o->tls_key == NULL) {
        err_fail(e, ERR_CONFIG, "tls_cert is set, but tls_key is not");
        return NULL;
    }
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    must(tls != NULL);
    if (set_up(tls, o, e))
        return tls;
    SSL_CTX_free(tls);
    return NULL;
}
