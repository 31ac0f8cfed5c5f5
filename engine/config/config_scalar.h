/* Single values, from a node into the field of a key. */
#pragma once

#include "config/config_reader.h"
#include "config/config_schema.h"

/* Reads a text, choice, number, size or duration. */
void config_scalar_read(struct config_reader *reader, const struct config_key *key, void *base,
                        const yaml_node_t *node);

/* The text of a scalar, "" for nothing; NULL, and an error, when the key does not allow it. */
const char *config_scalar_text(struct config_reader *reader, const struct config_key *key,
                               const yaml_node_t *node);

/* The key's choice of that name; NULL, and an error, when there is none. */
const struct config_choice *config_scalar_choice(struct config_reader *reader,
                                                 const struct config_key *key,
                                                 const yaml_node_t *node);

/* Says what there is to say of a key whose value is not the default. */
void config_scalar_changed(struct config_reader *reader, const struct config_key *key,
                           const yaml_node_t *node);
