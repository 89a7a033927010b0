/* SPDX-License-Identifier: Apache-2.0 */
/* hiredis' parser with object functions of ours: a reply lives in one arena, which is reset before the next, instead of two
 * allocations a string. The parser holds at most 7 nested arrays; deeper ones are an error it does not come back from. */
#include "net/redis_reply.h"

#include <hiredis/hiredis.h>
#include <string.h>

#include "base/mem.h"

enum {
    READER_IDLE_MAX = 1024 * 1024,
    ARENA_BLOCK = 64 * 1024,
    ARENA_KEEP = 1024 * 1024,
    ARRAY_MAX = 4 * 1024 * 1024,
};

struct reply {
    enum reply_type type;
    int64_t integer;
    struct str str;
    struct reply *items;
    size_t count;
};

/* Blocks of memory that are given out piece by piece and taken back all at once. */
struct arena_block {
    struct arena_block *next;
    size_t used;
    size_t size;
    char bytes[];
};

struct arena {
    struct arena_block *head;
};

struct reply_parser {
    redisReader *reader;
    struct arena arena;
    bool whole; /* the arena holds a reply that was given out */
};

static void *arena_take(struct arena *a, size_t n)
{
    n = (n + 15) & ~(size_t)15;
    struct arena_block *b = a->head;
    if (b == NULL || b->size - b->used < n) {
        size_t size = n > ARENA_BLOCK ? n : ARENA_BLOCK;
        b = mem_alloc(sizeof *b + size);
        *b = (struct arena_block){.next = a->head, .size = size};
        a->head = b;
    }
    void *p = b->bytes + b->used;
    b->used += n;
    return p;
}

/* Keeps one block of moderate size for the next reply. */
static void arena_reset(struct arena *a)
{
    struct arena_block *keep = NULL;
    while (a->head != NULL) {
        struct arena_block *b = a->head;
        a->head = b->next;
        if (keep == NULL && b->size <= ARENA_KEEP)
            keep = b;
        else
            mem_free(b);
    }
    if (keep != NULL) {
        keep->used = 0;
        keep->next = NULL;
        a->head = keep;
    }
}

static void arena_finish(struct arena *a)
{
    arena_reset(a);
    mem_free(a->head);
    a->head = NULL;
}

/* Where the parser's next object stands: in its array, or alone. NULL would mean "no memory" to hiredis. */
static struct reply *place(const redisReadTask *task, enum reply_type type)
{
    struct reply_parser *r = task->privdata;
    struct reply *p;
    if (task->parent != NULL)
        p = &((struct reply *)task->parent->obj)->items[task->idx];
    else
        p = arena_take(&r->arena, sizeof *p);
    *p = (struct reply){.type = type};
    return p;
}

static void *make_string(const redisReadTask *task, char *bytes, size_t n)
{
    struct reply_parser *r = task->privdata;
    enum reply_type type = task->type == REDIS_REPLY_STATUS  ? REPLY_STATUS
                           : task->type == REDIS_REPLY_ERROR ? REPLY_ERROR
                                                             : REPLY_STR;
    struct reply *p = place(task, type);
    char *copy = arena_take(&r->arena, n + 1);
    if (n != 0)
        memcpy(copy, bytes, n);
    copy[n] = '\0';
    p->str = (struct str){copy, n};
    return p;
}

static void *make_array(const redisReadTask *task, int count)
{
    struct reply_parser *r = task->privdata;
    if (count > ARRAY_MAX)
        return NULL;
    struct reply *p = place(task, REPLY_ARRAY);
    p->count = (size_t)count;
    p->items = arena_take(&r->arena, p->count * sizeof *p->items);
    return p;
}

static void *make_integer(const redisReadTask *task, long long value)
{
    struct reply *p = place(task, REPLY_INT);
    p->integer = value;
    return p;
}

static void *make_nil(const redisReadTask *task)
{
    return place(task, REPLY_NIL);
}

static void free_nothing(void *reply)
{
    (void)reply; /* the arena has it */
}

static redisReplyObjectFunctions reply_functions = {make_string, make_array, make_integer, make_nil,
                                                    free_nothing};

struct reply_parser *reply_parser_new(void)
{
    struct reply_parser *p = mem_new(struct reply_parser);
    p->reader = redisReaderCreateWithFunctions(&reply_functions);
    must(p->reader != NULL);
    p->reader->maxbuf = READER_IDLE_MAX;
    redisReaderSetPrivdata(p->reader, p);
    return p;
}

void reply_parser_free(struct reply_parser *p)
{
    if (p == NULL)
        return;
    redisReaderFree(p->reader);
    arena_finish(&p->arena);
    mem_free(p);
}

void reply_parser_feed(struct reply_parser *p, const char *bytes, size_t n)
{
    redisReaderFeed(p->reader, bytes,
                    n); /* what it could say is said by the next reply_parser_next */
}

const struct reply *reply_parser_next(struct reply_parser *p, struct err *e)
{
    if (p->whole)
        arena_reset(&p->arena);
    void *reply = NULL;
    if (redisReaderGetReply(p->reader, &reply) != REDIS_OK)
        err_fail(e, ERR_REDIS, "Redis sent what cannot be read: %s", p->reader->errstr);
    p->whole = reply != NULL;
    return reply;
}

enum reply_type reply_type(const struct reply *r)
{
    return r == NULL ? REPLY_NIL : r->type;
}

struct str reply_str(const struct reply *r)
{
    return r == NULL ? (struct str){NULL, 0} : r->str;
}

int64_t reply_int(const struct reply *r)
{
    if (r == NULL)
        return 0;
    if (r->type == REPLY_INT)
        return r->integer;
    bool negative = str_starts(r->str, "-");
    struct str digits = negative ? (struct str){r->str.p + 1, r->str.n - 1} : r->str;
    uint64_t v;
    if (!str_u64(digits, &v) || v > INT64_MAX)
        return 0;
    return negative ? -(int64_t)v : (int64_t)v;
}

size_t reply_len(const struct reply *r)
{
    return r == NULL ? 0 : r->count;
}

const struct reply *reply_at(const struct reply *r, size_t i)
{
    return r != NULL && i < r->count ? &r->items[i] : NULL;
}
