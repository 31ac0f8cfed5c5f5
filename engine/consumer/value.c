#include "consumer/value.h"
#include "base/mem.h"
#include <stdlib.h>

enum { DEPTH_MAX = 32, SMALL = 1024 };

static json_t *scan_any(struct json_scan *scan, int depth);

static json_t *scan_string(struct json_scan *scan)
{
    struct json_text text;
    char small[SMALL];
    if (!json_scan_string(scan, &text))
        return NULL;
    if (!text.escaped)
        return json_stringn_nocheck(text.data, text.len);
    char *plain = text.len > sizeof small ? xmalloc(text.len) : small;
    json_t *value = json_stringn_nocheck(plain, json_text_copy(plain, &text));
    if (plain != small)
        free(plain);
    return value;
}

static json_t *scan_integer(struct json_scan *scan)
{
    uint64_t count;
    bool negative = json_scan_char(scan, '-');
    if (negative && (scan->at == scan->end || *scan->at < '1' || *scan->at > '9'))
        return NULL;
    if (!json_scan_count(scan, &count))
        return NULL;
    return json_integer(negative ? -(json_int_t)count : (json_int_t)count);
}

static json_t *scan_word(struct json_scan *scan)
{
    if (JSON_SCAN_LITERAL(scan, "true"))
        return json_true();
    if (JSON_SCAN_LITERAL(scan, "false"))
        return json_false();
    return JSON_SCAN_LITERAL(scan, "null") ? json_null() : NULL;
}

static bool scan_member(struct json_scan *scan, json_t *object, int depth)
{
    struct json_text name;
    if (!json_scan_string(scan, &name) || name.escaped || !json_scan_char(scan, ':'))
        return false;
    json_t *value = scan_any(scan, depth);
    return value && json_object_setn_new_nocheck(object, name.data, name.len, value) == 0;
}

static bool scan_item(struct json_scan *scan, json_t *array, int depth)
{
    json_t *value = scan_any(scan, depth);
    return value && json_array_append_new(array, value) == 0;
}

/* What is inside of the brackets, and the closing one. */
static json_t *scan_inside(struct json_scan *scan, json_t *container, char closing, int depth,
                           bool (*scan_one)(struct json_scan *scan, json_t *container, int depth))
{
    bool good = depth < DEPTH_MAX;
    if (good && json_scan_char(scan, closing))
        return container;
    do
        good = good && scan_one(scan, container, depth + 1);
    while (good && json_scan_char(scan, ','));
    if (good && json_scan_char(scan, closing))
        return container;
    json_decref(container);
    return NULL;
}

static json_t *scan_any(struct json_scan *scan, int depth)
{
    if (json_scan_char(scan, '{'))
        return scan_inside(scan, json_object(), '}', depth, scan_member);
    if (json_scan_char(scan, '['))
        return scan_inside(scan, json_array(), ']', depth, scan_item);
    if (scan->at == scan->end)
        return NULL;
    if (*scan->at == '"')
        return scan_string(scan);
    if (*scan->at == '-' || (*scan->at >= '0' && *scan->at <= '9'))
        return scan_integer(scan);
    return scan_word(scan);
}

json_t *value_scan(struct json_scan *scan)
{
    return scan_any(scan, 0);
}
