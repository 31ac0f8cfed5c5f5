/* Reads the requests that come most, `mesh.send` and `mesh.publish` of text in either spelling,
 * without building a tree of them. Pure functions. */
#pragma once

#include "api/request.h"

/* Fills in *out as request_parse would, or returns false and leaves it alone: the text is another
 * request, a bad one, or one written in some rarer way. */
bool request_scan(struct request *out, const char *text, size_t len)
    __attribute__((warn_unused_result));
