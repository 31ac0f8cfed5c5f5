#include "config/config_scalar.h"

#include "base/mem.h"
#include "config/config_node.h"
#include "config/config_value.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void config_scalar_changed(struct config_reader *reader, const struct config_key *key,
                           const yaml_node_t *node)
{
    reader->changes++;
    if (key->unused)
        config_reader_warn(reader, &node->start_mark, "has no effect: %s", key->unused);
}

static bool parse_number(const struct config_key *key, const char *text, uint64_t *out)
{
    if (key->kind == CONFIG_SIZE)
        return config_value_size(text, out);
    if (key->kind == CONFIG_SECONDS)
        return config_value_seconds(text, out);
    return config_value_number(text, out);
}

static void wrong_number(struct config_reader *reader, const struct config_key *key,
                         const yaml_node_t *node)
{
    const char *form = "a whole number from %" PRIu64 " to %" PRIu64;
    if (key->kind == CONFIG_SIZE)
        form = "a size from %" PRIu64 " to %" PRIu64 " bytes, as in 65536, 64 KiB or 1 MiB";
    else if (key->kind == CONFIG_SECONDS)
        form = "whole seconds from %" PRIu64 " to %" PRIu64 ", as in 10 or 10s";
    char allowed[128];
    snprintf(allowed, sizeof allowed, form, key->min, key->max);
    config_reader_wrong(reader, node, allowed);
}

static void read_number(struct config_reader *reader, const struct config_key *key, void *base,
                        const yaml_node_t *node)
{
    uint64_t value;
    const char *text = config_node_text(node);
    if (!text || !parse_number(key, text, &value) || value < key->min || value > key->max) {
        wrong_number(reader, key, node);
        return;
    }
    if (value != key->number)
        config_scalar_changed(reader, key, node);
    config_store(key, base, value);
}

static void report_wrong(struct config_reader *reader, const struct config_key *key,
                         const yaml_node_t *node, const char *allowed)
{
    if (key->secret && config_node_text(node))
        config_reader_error(reader, &node->start_mark, "found another text; allowed is %s",
                            allowed);
    else
        config_reader_wrong(reader, node, allowed);
}

const struct config_choice *config_scalar_choice(struct config_reader *reader,
                                                 const struct config_key *key,
                                                 const yaml_node_t *node)
{
    const char *text = config_node_text(node);
    for (const struct config_choice *choice = key->choices; text && choice->name; choice++)
        if (strcasecmp(choice->name, text) == 0)
            return choice;
    struct buf allowed = {0};
    for (const struct config_choice *choice = key->choices; choice->name; choice++)
        if (!choice->silent)
            buf_printf(&allowed, "%s%s", allowed.len ? " or " : "", choice->name);
    report_wrong(reader, key, node, allowed.data);
    buf_free(&allowed);
    return NULL;
}

static void read_choice(struct config_reader *reader, const struct config_key *key, void *base,
                        const yaml_node_t *node)
{
    const struct config_choice *choice = config_scalar_choice(reader, key, node);
    if (!choice)
        return;
    if (choice->value != key->number)
        config_scalar_changed(reader, key, node);
    config_store(key, base, choice->value);
}

const char *config_scalar_text(struct config_reader *reader, const struct config_key *key,
                               const yaml_node_t *node)
{
    const char *text = config_node_is_null(node) ? "" : config_node_text(node);
    const char *fault = text && key->fault ? key->fault(text) : NULL;
    if (fault) {
        config_reader_error(reader, &node->start_mark, "found %s; allowed is %s", fault,
                            key->allowed);
        return NULL;
    }
    if (text && (!key->valid || key->valid(text)))
        return text;
    report_wrong(reader, key, node, key->allowed ? key->allowed : "a text");
    return NULL;
}

static void read_text(struct config_reader *reader, const struct config_key *key, void *base,
                      const yaml_node_t *node)
{
    const char *text = config_scalar_text(reader, key, node);
    if (!text)
        return;
    if (strcmp(text, key->text) != 0)
        config_scalar_changed(reader, key, node);
    if (!key->width)
        return;
    char **field = config_text_field(key, base);
    free(*field);
    *field = xstrdup(text);
}

void config_scalar_read(struct config_reader *reader, const struct config_key *key, void *base,
                        const yaml_node_t *node)
{
    unsigned errors = reader->errors;
    if (key->kind == CONFIG_CHOICE)
        read_choice(reader, key, base, node);
    else if (key->kind == CONFIG_TEXT)
        read_text(reader, key, base, node);
    else
        read_number(reader, key, base, node);
    if (key->width)
        config_reader_set_place(reader, (char *)base + key->offset, node, reader->errors != errors);
}
