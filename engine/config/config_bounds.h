/* What a document may be made of, looked at before it is built: libyaml takes time that grows with
 * the square of the depth, of the anchors, and of the aliases. Pure function but for what it
 * reports. */
#pragma once

#include "config/config_reader.h"

enum { CONFIG_DEPTH_MAX = 64, CONFIG_ANCHORS_MAX = 1024, CONFIG_ALIASES_MAX = 10000 };

/* False, and an error, when the text has too much of these. What is no YAML is none of them. */
bool config_bounds_check(struct config_reader *reader, const char *text, size_t len);
