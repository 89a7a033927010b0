/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdio.h>

#include "base/map.h"
#include "base/mem.h"

Suite *map_suite(void);

struct word {
    struct map_node node;
    char text[16];
};

static struct word *add(struct map *m, int i)
{
    struct word *w = mem_new(struct word);
    snprintf(w->text, sizeof w->text, "word-%d", i);
    map_add(m, &w->node, str_of(w->text));
    return w;
}

START_TEST(what_was_added_is_found_until_it_is_removed)
{
    struct map m = {0};
    struct word *words[1000];
    for (int i = 0; i < 1000; i++)
        words[i] = add(&m, i);
    ck_assert_uint_eq(m.n, 1000);
    for (int i = 0; i < 1000; i += 2) {
        map_remove(&m, &words[i]->node);
        mem_free(words[i]);
    }
    for (int i = 0; i < 1000; i++) {
        char text[16];
        snprintf(text, sizeof text, "word-%d", i);
        struct map_node *found = map_find(&m, str_of(text));
        ck_assert_ptr_eq(found, i % 2 ? &words[i]->node : NULL);
    }
    struct map_node *any;
    while ((any = map_any(&m)) != NULL) {
        map_remove(&m, any);
        mem_free(container_of(any, struct word, node));
    }
    ck_assert_uint_eq(m.n, 0);
    map_finish(&m);
}
END_TEST

START_TEST(an_empty_map_finds_nothing)
{
    struct map m = {0};
    ck_assert_ptr_null(map_find(&m, STR("x")));
    ck_assert_ptr_null(map_any(&m));
    map_finish(&m);
}
END_TEST

START_TEST(keys_are_bytes_and_may_hold_nul)
{
    struct map m = {0};
    struct map_node a, b;
    map_add(&m, &a, STR("x\0a"));
    map_add(&m, &b, STR("x\0b"));
    ck_assert_ptr_eq(map_find(&m, STR("x\0b")), &b);
    ck_assert_ptr_eq(map_find(&m, STR("x\0a")), &a);
    ck_assert_ptr_null(map_find(&m, STR("x")));
    map_finish(&m);
}
END_TEST

Suite *map_suite(void)
{
    Suite *s = suite_create("map");
    TCase *t = tcase_create("map");
    tcase_add_test(t, what_was_added_is_found_until_it_is_removed);
    tcase_add_test(t, an_empty_map_finds_nothing);
    tcase_add_test(t, keys_are_bytes_and_may_hold_nul);
    suite_add_tcase(s, t);
    return s;
}
