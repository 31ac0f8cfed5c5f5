/* Steps over JSON text (RFC 8259) in place, for messages of a form that is known: what comes often
 * is read without building a tree. Refuses more than it must (numbers that are no plain counts, \u
 * escapes): whatever it refuses is for a real parser to judge. No allocation. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_scan {
    const char *at, *end;
};

/* A string as it stands between its quotes. */
struct json_text {
    const char *data;
    size_t len;
    bool escaped;
};

/* Each steps over what it names, and white space before it, or returns false; then `at` is
 * anywhere. */
bool json_scan_char(struct json_scan *scan, char c);
bool json_scan_string(struct json_scan *scan, struct json_text *text); /* valid UTF-8 */
bool json_scan_count(struct json_scan *scan, uint64_t *count); /* an integer from 0 to 2^63 - 1 */

/* These characters, as they stand, with no white space in between. */
bool json_scan_literal(struct json_scan *scan, const char *literal, size_t len);
#define JSON_SCAN_LITERAL(scan, literal) json_scan_literal(scan, literal, sizeof(literal) - 1)

/* Nothing is left but white space. */
bool json_scan_end(struct json_scan *scan);

/* What the text stands for; room for text->len bytes. Returns its length. */
size_t json_text_copy(char *to, const struct json_text *text);
