/* Reads a YAML document into a struct as the tables of config_schema.h say. */
#pragma once

#include "config/config_reader.h"
#include "config/config_schema.h"

/* Reads the document's root, which may be missing, into `base`, which holds the defaults.
 * Everything that is wrong is reported. */
void config_walk(struct config_reader *reader, yaml_document_t *document,
                 const struct config_section *root, void *base);
