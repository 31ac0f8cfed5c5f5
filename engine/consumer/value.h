/* JSON text to jansson's values, faster than its own parser. */
#pragma once

#include "proto/json_scan.h"
#include <jansson.h>

/* The value that stands at `scan`, which is moved behind it: the caller's reference. NULL for what
 * is no JSON, and for what json_scan.h refuses, real numbers, and nesting deeper than 32. */
json_t *value_scan(struct json_scan *scan) __attribute__((warn_unused_result));
