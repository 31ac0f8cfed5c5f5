/* The walk follows the tables, not the document, so its depth is that of the tables however the
 * document nests or refers to itself. Two things could still make a small document take long, and
 * both are bounded: merge keys (`<<`), which alone recurse, by MERGE_DEPTH, and aliases, through
 * which one node is read many times, by VISITS_MAX. */
#include "config/config_walk.h"

#include "base/check.h"
#include "base/mem.h"
#include "config/config_node.h"
#include "config/config_scalar.h"
#include "config/edit_distance.h"
#include <string.h>

enum { MERGE_DEPTH = 8, VISITS_MAX = 100000, LIST_MAX = 1024 };

struct walk {
    struct config_reader *reader;
    yaml_document_t *document;
    unsigned visited;
};

/* One mapping that is read: which keys were seen where. */
struct mapping {
    struct walk *walk;
    const struct config_section *section;
    void *base;
    const yaml_node_t *seen[CONFIG_SECTION_KEYS_MAX]; /* the node of the key's name */
    int merging;                                      /* how deep */
};

static void read_value(struct walk *walk, const struct config_key *key, void *base,
                       const yaml_node_t *node);
static void read_section(struct walk *walk, const struct config_section *section, void *base,
                         const yaml_node_t *node);
static void read_pairs(struct mapping *mapping, const yaml_node_t *node);

static const yaml_node_t *node_at(const struct walk *walk, int index)
{
    const yaml_node_t *node = yaml_document_get_node(walk->document, index);
    CHECK(node);
    return node;
}

/* False when the document refers to its parts so often that reading must end. */
static bool visit(struct walk *walk, const yaml_node_t *node)
{
    if (++walk->visited == VISITS_MAX)
        config_reader_error(walk->reader, &node->start_mark,
                            "more than %d values; use fewer or smaller aliases", VISITS_MAX);
    return walk->visited < VISITS_MAX;
}

/* ---- lists ---- */

static size_t sequence_len(const yaml_node_t *node)
{
    return (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
}

static const yaml_node_t *sequence_item(const struct walk *walk, const yaml_node_t *node,
                                        size_t index)
{
    return node_at(walk, node->data.sequence.items.start[index]);
}

/* False, and an error, when the node is not a list of bearable length. */
static bool check_list(struct walk *walk, const yaml_node_t *node, const char *allowed)
{
    if (node->type == YAML_SEQUENCE_NODE && sequence_len(node) <= LIST_MAX)
        return true;
    if (node->type == YAML_SEQUENCE_NODE)
        config_reader_error(walk->reader, &node->start_mark, "found a list of %zu; allowed are %d",
                            sequence_len(node), LIST_MAX);
    else
        config_reader_wrong(walk->reader, node, allowed);
    return false;
}

static void read_texts(struct walk *walk, const struct config_key *key, void *base,
                       const yaml_node_t *node)
{
    char ***field = config_texts_field(key, base);
    if (config_node_is_null(node) || !check_list(walk, node, "a list of texts"))
        return;
    *field = xrealloc(*field, (sequence_len(node) + 1) * sizeof **field);
    size_t count = 0;
    for (size_t i = 0; i < sequence_len(node); i++) {
        const yaml_node_t *item = sequence_item(walk, node, i);
        size_t before = config_reader_push_index(walk->reader, i);
        const char *text = visit(walk, item) ? config_scalar_text(walk->reader, key, item) : NULL;
        if (text)
            (*field)[count++] = xstrdup(text);
        config_reader_pop(walk->reader, before);
    }
    (*field)[count] = NULL;
    config_reader_set_place(walk->reader, field, node, false);
    if (count > 0)
        config_scalar_changed(walk->reader, key, node);
}

static void read_flags(struct walk *walk, const struct config_key *key, void *base,
                       const yaml_node_t *node)
{
    if (!check_list(walk, node, "a list"))
        return;
    for (size_t i = 0; i < sequence_len(node); i++) {
        const yaml_node_t *item = sequence_item(walk, node, i);
        size_t before = config_reader_push_index(walk->reader, i);
        const struct config_choice *choice =
            visit(walk, item) ? config_scalar_choice(walk->reader, key, item) : NULL;
        if (choice)
            *(bool *)((char *)base + key->offset + choice->value) = true;
        config_reader_pop(walk->reader, before);
    }
}

/* Does an item before this one have the same text? */
static const char *same_before(const struct config_key *list, const struct config_key *key,
                               void *base, size_t index)
{
    const char *text = *config_text_field(key, config_list_item(list, base, index));
    for (size_t i = 0; i < index; i++) {
        const char *other = *config_text_field(key, config_list_item(list, base, i));
        if (strcmp(text, other) == 0)
            return other;
    }
    return NULL;
}

static void check_unique(struct walk *walk, const struct config_key *list,
                         const struct config_key *key, void *base, const yaml_node_t *node)
{
    for (size_t i = 1; i < config_list_count(list, base); i++) {
        const char *other = same_before(list, key, base, i);
        if (!other || !*other)
            continue;
        const void *field = config_text_field(key, config_list_item(list, base, i));
        const yaml_mark_t *place = config_reader_place(walk->reader, field);
        size_t before = config_reader_push_index(walk->reader, i);
        config_reader_error(walk->reader, place ? place : &sequence_item(walk, node, i)->start_mark,
                            "another item before it has the same %s: %s", key->name,
                            config_quote(other).text);
        config_reader_pop(walk->reader, before);
    }
}

static void read_item(struct walk *walk, const struct config_key *key, void *base,
                      const yaml_node_t *node)
{
    if (!visit(walk, node))
        return;
    if (config_node_is_null(node)) {
        config_reader_wrong(walk->reader, node, "a mapping");
        return;
    }
    if (key->has_line) {
        int *line = (int *)((char *)base + key->line_offset);
        *line = (int)node->start_mark.line + 1;
        config_reader_set_place(walk->reader, line, node, false);
    }
    read_section(walk, key->section, base, node);
}

static void read_items(struct walk *walk, const struct config_key *key, void *base,
                       const yaml_node_t *node)
{
    config_list_make(key, base, sequence_len(node));
    for (size_t i = 0; i < sequence_len(node); i++) {
        size_t before = config_reader_push_index(walk->reader, i);
        read_item(walk, key, config_list_item(key, base, i), sequence_item(walk, node, i));
        config_reader_pop(walk->reader, before);
    }
    for (size_t i = 0; i < key->section->count; i++)
        if (key->section->keys[i].unique)
            check_unique(walk, key, &key->section->keys[i], base, node);
}

static void read_list(struct walk *walk, const struct config_key *key, void *base,
                      const yaml_node_t *node)
{
    unsigned changes = walk->reader->changes;
    if (config_node_is_null(node))
        return;
    if (key->one_is_list && node->type == YAML_MAPPING_NODE) {
        config_list_make(key, base, 1);
        read_item(walk, key, config_list_item(key, base, 0), node);
    } else if (check_list(walk, node, "a list of mappings")) {
        read_items(walk, key, base, node);
    }
    config_reader_set_place(walk->reader, (char *)base + key->offset, node, false);
    if (walk->reader->changes != changes || config_list_count(key, base) != key->number)
        config_scalar_changed(walk->reader, key, node);
}

/* ---- mappings ---- */

static void warn_unknown(const struct mapping *mapping, const yaml_node_t *name)
{
    const char *nearest = NULL;
    unsigned least = UINT32_MAX;
    for (size_t i = 0; i < mapping->section->count; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): it has as many as it counts */
        const char *known = mapping->section->keys[i].name;
        unsigned distance = edit_distance(config_node_text(name), known);
        if (distance < least) {
            least = distance;
            nearest = known;
        }
    }
    config_reader_warn(mapping->walk->reader, &name->start_mark,
                       "unknown key %s is ignored; the nearest known one is '%s'",
                       config_quote(config_node_text(name)).text, nearest);
}

static const struct config_key *find_key(const struct config_section *section, const char *name)
{
    for (size_t i = 0; i < section->count; i++)
        if (config_key_is(&section->keys[i], name))
            return &section->keys[i];
    return NULL;
}

/* A key that was set twice: in a merged mapping the first one holds, as merge keys have it. */
static void judge_twice(struct mapping *mapping, const struct config_key *key,
                        const yaml_node_t *name, const yaml_node_t *first)
{
    if (mapping->merging)
        return;
    size_t before = config_reader_push(mapping->walk->reader, key->name);
    config_reader_error(mapping->walk->reader, &name->start_mark,
                        "%s is set already, as %s in line %zu, column %zu; keep one of them",
                        config_quote(config_node_text(name)).text,
                        config_quote(config_node_text(first)).text, first->start_mark.line + 1,
                        first->start_mark.column + 1);
    config_reader_pop(mapping->walk->reader, before);
}

static void read_pair(struct mapping *mapping, const yaml_node_t *name, const yaml_node_t *value)
{
    if (!visit(mapping->walk, name))
        return;
    if (!config_node_text(name)) {
        config_reader_error(mapping->walk->reader, &name->start_mark,
                            "found %s as a key; allowed is a text",
                            config_node_describe(name).text);
        return;
    }
    const struct config_key *key = find_key(mapping->section, config_node_text(name));
    if (!key) {
        warn_unknown(mapping, name);
        return;
    }
    const yaml_node_t **seen = &mapping->seen[key - mapping->section->keys];
    if (*seen) {
        judge_twice(mapping, key, name, *seen);
        return;
    }
    *seen = name;
    size_t before = config_reader_push(mapping->walk->reader, key->name);
    read_value(mapping->walk, key, mapping->base, value);
    config_reader_pop(mapping->walk->reader, before);
}

static bool is_merge(const yaml_node_t *name)
{
    return name->type == YAML_SCALAR_NODE && name->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           strcmp(config_node_text(name), "<<") == 0;
}

static void merge(struct mapping *mapping, const yaml_node_t *node)
{
    if (!visit(mapping->walk, node))
        return;
    if (++mapping->merging > MERGE_DEPTH)
        config_reader_error(mapping->walk->reader, &node->start_mark,
                            "merge keys (<<) that lead through more than %d mappings", MERGE_DEPTH);
    else if (node->type == YAML_MAPPING_NODE)
        read_pairs(mapping, node);
    else if (node->type == YAML_SEQUENCE_NODE)
        for (size_t i = 0; i < sequence_len(node); i++)
            merge(mapping, sequence_item(mapping->walk, node, i));
    else
        config_reader_error(mapping->walk->reader, &node->start_mark,
                            "<<: found %s; allowed is a mapping or a list of mappings",
                            config_node_describe(node).text);
    mapping->merging--;
}

/* A mapping's own keys go first: what is merged gives only those that are missing. */
static void read_pairs(struct mapping *mapping, const yaml_node_t *node)
{
    const yaml_node_pair_t *end = node->data.mapping.pairs.top;
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < end; pair++) {
        const yaml_node_t *name = node_at(mapping->walk, pair->key);
        if (!is_merge(name))
            read_pair(mapping, name, node_at(mapping->walk, pair->value));
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < end; pair++)
        if (is_merge(node_at(mapping->walk, pair->key)))
            merge(mapping, node_at(mapping->walk, pair->value));
}

static void check_required(const struct mapping *mapping, const yaml_node_t *node)
{
    for (size_t i = 0; i < mapping->section->count; i++)
        if (mapping->section->keys[i].required && !mapping->seen[i])
            config_reader_error(mapping->walk->reader, &node->start_mark, "the key '%s' is missing",
                                mapping->section->keys[i].name);
}

static void read_section(struct walk *walk, const struct config_section *section, void *base,
                         const yaml_node_t *node)
{
    CHECK(section->count <= CONFIG_SECTION_KEYS_MAX);
    struct mapping mapping = {.walk = walk, .section = section, .base = base};
    if (node->type == YAML_MAPPING_NODE) {
        read_pairs(&mapping, node);
    } else if (!config_node_is_null(node)) {
        config_reader_wrong(walk->reader, node, "a mapping");
        return;
    }
    check_required(&mapping, node);
}

static void read_switched(struct walk *walk, const struct config_key *key, void *base,
                          const yaml_node_t *node)
{
    const struct config_key *on = &key->section->keys[0];
    if (node->type != YAML_MAPPING_NODE) {
        config_scalar_read(walk->reader, on, base, node);
        return;
    }
    config_store(on, base, true);
    config_reader_set_place(walk->reader, (char *)base + on->offset, node, false);
    read_section(walk, key->section, base, node);
}

static void read_value(struct walk *walk, const struct config_key *key, void *base,
                       const yaml_node_t *node)
{
    switch (key->kind) {
    case CONFIG_NUMBER:
    case CONFIG_SECONDS:
    case CONFIG_SIZE:
    case CONFIG_CHOICE:
    case CONFIG_TEXT:
        config_scalar_read(walk->reader, key, base, node);
        break;
    case CONFIG_TEXTS:
        read_texts(walk, key, base, node);
        break;
    case CONFIG_FLAGS:
        read_flags(walk, key, base, node);
        break;
    case CONFIG_SECTION:
        if (key->has_switch)
            read_switched(walk, key, base, node);
        else
            read_section(walk, key->section, base, node);
        break;
    case CONFIG_LIST:
        read_list(walk, key, base, node);
        break;
    case CONFIG_IGNORED:
        break;
    }
}

void config_walk(struct config_reader *reader, yaml_document_t *document,
                 const struct config_section *root, void *base)
{
    struct walk walk = {.reader = reader, .document = document};
    const yaml_node_t *node = yaml_document_get_root_node(document);
    if (!node || config_node_is_null(node))
        return;
    if (node->type == YAML_MAPPING_NODE)
        read_section(&walk, root, base, node);
    else
        config_reader_error(reader, &node->start_mark,
                            "the file holds %s; allowed is a mapping with keys such as 'engine'",
                            config_node_describe(node).text);
}
