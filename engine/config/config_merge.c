#include "config/config_merge.h"

#include "base/check.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

static const char *field_of(const struct config_key *key, const void *base)
{
    return (const char *)base + key->offset;
}

static char *text_of(const struct config_key *key, const void *base)
{
    return *(char *const *)field_of(key, base);
}

static char **texts_of(const struct config_key *key, const void *base)
{
    return *(char **const *)field_of(key, base);
}

/* ---- equal? ---- */

static bool same_texts(char **a, char **b)
{
    for (; *a && *b; a++, b++)
        if (strcmp(*a, *b) != 0)
            return false;
    return !*a && !*b;
}

static bool same_flags(const struct config_key *key, const void *a, const void *b)
{
    bool same = true;
    for (const struct config_choice *choice = key->choices; choice->name; choice++)
        same &= field_of(key, a)[choice->value] == field_of(key, b)[choice->value];
    return same;
}

static bool same_value(const struct config_key *key, const void *a, const void *b)
{
    switch (key->kind) {
    case CONFIG_TEXT:
        return strcmp(text_of(key, a), text_of(key, b)) == 0;
    case CONFIG_TEXTS:
        return same_texts(texts_of(key, a), texts_of(key, b));
    case CONFIG_FLAGS:
        return same_flags(key, a, b);
    case CONFIG_LIST:
        return config_list_count(key, a) == config_list_count(key, b);
    default:
        return memcmp(field_of(key, a), field_of(key, b), key->width) == 0;
    }
}

/* ---- copies ---- */

static void copy_section(const struct config_section *section, void *to, const void *from);

static void copy_texts(const struct config_key *key, void *to, const void *from)
{
    size_t count = 0;
    char **texts = texts_of(key, from);
    while (texts[count])
        count++;
    char **copy = xcalloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = xstrdup(texts[i]);
    config_texts_free(key, to);
    *config_texts_field(key, to) = copy;
}

static void copy_flags(const struct config_key *key, void *to, const void *from)
{
    for (const struct config_choice *choice = key->choices; choice->name; choice++)
        ((char *)to + key->offset)[choice->value] = field_of(key, from)[choice->value];
}

static void copy_list(const struct config_key *key, void *to, const void *from)
{
    size_t count = config_list_count(key, from);
    config_list_make(key, to, count);
    for (size_t i = 0; i < count; i++)
        copy_section(key->section, config_list_item(key, to, i), config_list_item(key, from, i));
}

static void copy_text(const struct config_key *key, void *to, const void *from)
{
    char **field = config_text_field(key, to);
    free(*field);
    *field = xstrdup(text_of(key, from));
}

static void copy_value(const struct config_key *key, void *to, const void *from)
{
    switch (key->kind) {
    case CONFIG_TEXT:
        copy_text(key, to, from);
        break;
    case CONFIG_TEXTS:
        copy_texts(key, to, from);
        break;
    case CONFIG_FLAGS:
        copy_flags(key, to, from);
        break;
    case CONFIG_LIST:
        copy_list(key, to, from);
        break;
    default:
        memcpy((char *)to + key->offset, field_of(key, from), key->width);
    }
}

static bool is_stored(const struct config_key *key)
{
    return key->width > 0 || key->kind == CONFIG_FLAGS;
}

static void copy_section(const struct config_section *section, void *to, const void *from)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct config_key *key = &section->keys[i];
        if (key->kind == CONFIG_SECTION)
            copy_section(key->section, to, from);
        else if (is_stored(key))
            copy_value(key, to, from);
    }
}

/* ---- the merge ---- */

static void keep_running(struct config_reader *reader, const struct config_key *key, void *draft,
                         const void *running)
{
    if (same_value(key, draft, running))
        return;
    const yaml_mark_t *place = config_reader_place(reader, field_of(key, draft));
    config_reader_warn(reader, place, "%s; it takes effect after a restart",
                       place ? "has changed" : "is no longer set");
    copy_value(key, draft, running);
}

static void merge_items(struct config_reader *reader, const struct config_key *key, void *draft,
                        const void *running)
{
    for (size_t i = 0; i < config_list_count(key, draft); i++) {
        size_t before = config_reader_push_index(reader, i);
        config_merge(reader, key->section, config_list_item(key, draft, i),
                     config_list_item(key, running, i));
        config_reader_pop(reader, before);
    }
}

static void merge_key(struct config_reader *reader, const struct config_key *key, void *draft,
                      const void *running)
{
    if (key->kind == CONFIG_SECTION)
        config_merge(reader, key->section, draft, running);
    else if (key->kind == CONFIG_LIST && same_value(key, draft, running))
        merge_items(reader, key, draft, running);
    else if (is_stored(key))
        keep_running(reader, key, draft, running);
}

void config_merge(struct config_reader *reader, const struct config_section *section, void *draft,
                  const void *running)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct config_key *key = &section->keys[i];
        if (key->live)
            continue;
        size_t before = config_reader_push(reader, key->name);
        merge_key(reader, key, draft, running);
        config_reader_pop(reader, before);
    }
}
