/* SPDX-License-Identifier: Apache-2.0 */
/* The head has a checksum of its own: without it a length that was torn or damaged would be believed, and a search for the next whole record
 * would have to sum up megabytes at every false mark. A change of the form is a new form number, never a new meaning of this
 * one: files of an older version are read after an upgrade. */
#include "trigger/spool_frame.h"

#include <pthread.h>
#include <string.h>

enum { HEAD = 16, FORM = 2, FLAG_REPLAY = 1, FIXED = 2 + 8 + 8, TEXTS = 10, TEXTS_FORM_1 = 9 };

static const unsigned char mark[4] = {0xFF, 'H', 'M', 0xFE};

static uint32_t table[256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT; /* files are read in the thread pool */

static void make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xEDB88320U ^ c >> 1 : c >> 1;
        table[i] = c;
    }
}

static uint32_t crc32(const char *p, size_t n)
{
    pthread_once(&table_once, make_table);
    uint32_t c = 0xFFFFFFFFU;
    for (size_t i = 0; i < n; i++)
        c = table[(c ^ (unsigned char)p[i]) & 0xFF] ^ c >> 8;
    return ~c;
}

static void put_u32(char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (char)(v >> (8 * i) & 0xFF);
}

static uint32_t get_u32(const char *p)
{
    uint32_t v = 0;
    for (int i = 3; i >= 0; i--)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

static void add_i64(struct buf *b, int64_t v)
{
    char bytes[8];
    put_u32(bytes, (uint32_t)((uint64_t)v & 0xFFFFFFFFU));
    put_u32(bytes + 4, (uint32_t)((uint64_t)v >> 32));
    buf_add(b, bytes, sizeof bytes);
}

static int64_t get_i64(const char *p)
{
    return (int64_t)((uint64_t)get_u32(p + 4) << 32 | get_u32(p));
}

/* The texts in their order: the one place that knows it. */
static void texts_of(struct spool_record *r, struct str *texts[TEXTS])
{
    struct str *const all[TEXTS] = {&r->delivery_id, &r->run_id, &r->hook, &r->pipeline,
                                    &r->external_id, &r->event,  &r->key,  &r->value,
                                    &r->summary,     &r->origin};
    memcpy(texts, all, sizeof all);
}

void spool_frame_write(struct buf *out, const struct spool_record *r)
{
    struct spool_record copy = *r;
    struct str *texts[TEXTS];
    texts_of(&copy, texts);
    size_t start = out->n;
    char head[HEAD] = {0};
    buf_reserve(out, HEAD + FIXED + r->value.n + r->origin.n + 1024);
    buf_add(out, head, HEAD);
    buf_char(out, FORM);
    buf_char(out, r->replay ? FLAG_REPLAY : 0);
    add_i64(out, r->received_ms);
    add_i64(out, r->size);
    for (size_t i = 0; i < TEXTS; i++) {
        char length[4];
        put_u32(length, (uint32_t)texts[i]->n);
        buf_add(out, length, sizeof length);
        buf_str(out, *texts[i]);
    }
    size_t n = out->n - start - HEAD;
    memcpy(head, mark, sizeof mark);
    put_u32(head + 4, (uint32_t)n);
    put_u32(head + 8, crc32(out->p + start + HEAD, n));
    put_u32(head + 12, crc32(head, 12));
    memcpy(out->p + start, head, HEAD);
}

static bool parse(struct str payload, struct spool_record *r)
{
    if (payload.n < FIXED || (payload.p[0] != FORM && payload.p[0] != 1))
        return false;
    size_t n_texts = payload.p[0] == 1 ? TEXTS_FORM_1 : TEXTS;
    *r = (struct spool_record){.replay = (payload.p[1] & FLAG_REPLAY) != 0,
                               .received_ms = get_i64(payload.p + 2),
                               .size = get_i64(payload.p + 10)};
    struct str *texts[TEXTS];
    texts_of(r, texts);
    size_t at = FIXED;
    for (size_t i = 0; i < n_texts; i++) {
        if (payload.n - at < 4)
            return false;
        size_t n = get_u32(payload.p + at);
        at += 4;
        if (payload.n - at < n)
            return false;
        *texts[i] = (struct str){payload.p + at, n};
        at += n;
    }
    return at == payload.n;
}

/* The payload of the whole record that begins at `at`; {NULL,0}: none does. */
static struct str record_at(struct str bytes, size_t at)
{
    const struct str none = {NULL, 0};
    const char *head = bytes.p + at;
    size_t left = bytes.n - at;
    if (left < HEAD || memcmp(head, mark, sizeof mark) != 0 ||
        get_u32(head + 12) != crc32(head, 12))
        return none;
    size_t n = get_u32(head + 4);
    if (left - HEAD < n || get_u32(head + 8) != crc32(head + HEAD, n))
        return none;
    return (struct str){head + HEAD, n};
}

enum spool_frame spool_frame_read(struct str bytes, size_t *at, struct spool_record *r)
{
    if (*at >= bytes.n)
        return SPOOL_END;
    struct str payload = record_at(bytes, *at);
    if (payload.p != NULL) {
        *at += HEAD + payload.n;
        return parse(payload, r) ? SPOOL_RECORD : SPOOL_DAMAGED; /* of a form to come, perhaps */
    }
    for (size_t i = *at + 1; i < bytes.n; i++) {
        const char *next = memchr(bytes.p + i, mark[0], bytes.n - i);
        if (next == NULL)
            break;
        i = (size_t)(next - bytes.p);
        if (record_at(bytes, i).p != NULL) {
            *at = i;
            return SPOOL_DAMAGED;
        }
    }
    return SPOOL_TORN;
}
