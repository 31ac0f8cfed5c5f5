/* What a node of a YAML document is. Pure. */
#pragma once

#include <stdbool.h>
#include <yaml.h>

enum { CONFIG_QUOTE_MAX = 60 };

/* Text of the file made fit for a report: no line break, no terminal's escape, not too long. */
struct config_quoted {
    char text[CONFIG_QUOTE_MAX + sizeof "''..."];
};

struct config_quoted config_quote(const char *text);

/* What was found: "a list", "nothing", "'text'". */
struct config_quoted config_node_describe(const yaml_node_t *node);

/* Nothing after a key's colon, `~` or `null`. */
bool config_node_is_null(const yaml_node_t *node);

/* The text of a scalar, NULL for other nodes and for text with a NUL in it. */
const char *config_node_text(const yaml_node_t *node);
