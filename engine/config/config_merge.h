/* What of a file that was read again takes effect at once, and what only after a restart. The
 * thread of the reader. */
#pragma once

#include "config/config_reader.h"
#include "config/config_schema.h"

/* Gives `draft`, which the reader has just filled from the section's tables, the value of `running`
 * for each key that is not live; a warning names each that had another one. A list that has another
 * length is taken whole. */
void config_merge(struct config_reader *reader, const struct config_section *section, void *draft,
                  const void *running);
