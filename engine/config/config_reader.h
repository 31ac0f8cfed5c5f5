/* What the reading of one file carries along: where to report to, the path of the key that is being
 * read, and which fields the file sets where. One thread. */
#pragma once

#include "base/buf.h"
#include "config/config.h"
#include <yaml.h>

struct config_place {
    const void *field;
    yaml_mark_t mark;
    bool bad;
};

/* In the caller's memory, who sets the first three fields and zeroes the others. */
struct config_reader {
    const char *file;
    config_report *report;
    void *report_data;
    unsigned errors;  /* reported so far */
    unsigned changes; /* values that are not the default */
    struct buf path;  /* of the key that is being read: "engine.servers[0].port" */
    struct config_place *places;
    size_t place_count, place_cap;
};

void config_reader_fini(struct config_reader *reader);

/* Report something, with the path; `mark` NULL: of the file as a whole. */
void config_reader_error(struct config_reader *reader, const yaml_mark_t *mark, const char *format,
                         ...) __attribute__((format(printf, 3, 4)));
void config_reader_warn(struct config_reader *reader, const yaml_mark_t *mark, const char *format,
                        ...) __attribute__((format(printf, 3, 4)));

/* Reports what was found in place of what is allowed. */
void config_reader_wrong(struct config_reader *reader, const yaml_node_t *node,
                         const char *allowed);

/* Add a part to the path; return what config_reader_pop takes to remove it. */
size_t config_reader_push(struct config_reader *reader, const char *name);
size_t config_reader_push_index(struct config_reader *reader, size_t index);
void config_reader_pop(struct config_reader *reader, size_t before);

/* Notes that the node sets the field; `bad`: with an error, so that the field still holds the
 * default. */
void config_reader_set_place(struct config_reader *reader, const void *field,
                             const yaml_node_t *node, bool bad);

/* Where the file sets the field. NULL: it does not. */
const yaml_mark_t *config_reader_place(const struct config_reader *reader, const void *field);
bool config_reader_is_bad(const struct config_reader *reader, const void *field);
