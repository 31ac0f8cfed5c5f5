#include "config/config_node.h"

#include <string.h>
#include <strings.h>

struct config_quoted config_quote(const char *text)
{
    struct config_quoted out;
    size_t len = 0, at = 0;
    out.text[len++] = '\'';
    for (; at < CONFIG_QUOTE_MAX && text[at]; at++) {
        unsigned char c = (unsigned char)text[at];
        out.text[len++] = c < ' ' || c == 0x7f ? '?' : text[at];
    }
    while (text[at] && len > 1 && ((unsigned char)text[at] & 0xc0) == 0x80) {
        at--; /* the cut was inside a character */
        len--;
    }
    strcpy(out.text + len, text[at] ? "...'" : "'");
    return out;
}

static const char *scalar(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

static bool has_nul(const yaml_node_t *node)
{
    return strlen(scalar(node)) != node->data.scalar.length;
}

bool config_node_is_null(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    return !*scalar(node) || strcmp(scalar(node), "~") == 0 ||
           strcasecmp(scalar(node), "null") == 0;
}

struct config_quoted config_node_describe(const yaml_node_t *node)
{
    if (node->type == YAML_MAPPING_NODE)
        return (struct config_quoted){"a mapping"};
    if (node->type == YAML_SEQUENCE_NODE)
        return (struct config_quoted){"a list"};
    if (config_node_is_null(node))
        return (struct config_quoted){"nothing"};
    if (has_nul(node))
        return (struct config_quoted){"a text with a NUL"};
    return config_quote(scalar(node));
}

const char *config_node_text(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && !has_nul(node) ? scalar(node) : NULL;
}
