#include "config/config_reader.h"

#include "base/mem.h"
#include "config/config_node.h"
#include <stdarg.h>
#include <stdlib.h>

/* Paths and names of the file may have any character; a report is one line. */
static void blot_controls(struct buf *line)
{
    for (size_t i = 0; i < line->len; i++) {
        unsigned char c = (unsigned char)line->data[i];
        if (c < ' ' || c == 0x7f)
            line->data[i] = '?';
    }
}

__attribute__((format(printf, 4, 0))) static void report(struct config_reader *reader,
                                                         bool is_error, const yaml_mark_t *mark,
                                                         const char *format, va_list args)
{
    struct buf line = {0};
    buf_printf(&line, "%s:", reader->file);
    if (mark)
        buf_printf(&line, "%zu:%zu:", mark->line + 1, mark->column + 1);
    buf_append_str(&line, is_error ? " error: " : " warning: ");
    buf_append(&line, reader->path.data, reader->path.len);
    if (reader->path.len)
        buf_append_str(&line, ": ");
    buf_vprintf(&line, format, args);
    blot_controls(&line);
    buf_append_char(&line, '\0');
    reader->errors += is_error;
    reader->report(is_error, line.data, reader->report_data);
    buf_free(&line);
}

void config_reader_error(struct config_reader *reader, const yaml_mark_t *mark, const char *format,
                         ...)
{
    va_list args;
    va_start(args, format);
    report(reader, true, mark, format, args);
    va_end(args);
}

void config_reader_warn(struct config_reader *reader, const yaml_mark_t *mark, const char *format,
                        ...)
{
    va_list args;
    va_start(args, format);
    report(reader, false, mark, format, args);
    va_end(args);
}

void config_reader_wrong(struct config_reader *reader, const yaml_node_t *node, const char *allowed)
{
    config_reader_error(reader, &node->start_mark, "found %s; allowed is %s",
                        config_node_describe(node).text, allowed);
}

size_t config_reader_push(struct config_reader *reader, const char *name)
{
    size_t before = reader->path.len;
    buf_printf(&reader->path, "%s%s", before ? "." : "", name);
    return before;
}

size_t config_reader_push_index(struct config_reader *reader, size_t index)
{
    size_t before = reader->path.len;
    buf_printf(&reader->path, "[%zu]", index);
    return before;
}

void config_reader_pop(struct config_reader *reader, size_t before)
{
    reader->path.len = before;
}

void config_reader_set_place(struct config_reader *reader, const void *field,
                             const yaml_node_t *node, bool bad)
{
    if (reader->place_count == reader->place_cap) {
        reader->place_cap = reader->place_cap ? 2 * reader->place_cap : 64;
        reader->places = xrealloc(reader->places, reader->place_cap * sizeof *reader->places);
    }
    reader->places[reader->place_count++] = (struct config_place){field, node->start_mark, bad};
}

static const struct config_place *find_place(const struct config_reader *reader, const void *field)
{
    for (size_t i = 0; i < reader->place_count; i++)
        if (reader->places[i].field == field)
            return &reader->places[i];
    return NULL;
}

const yaml_mark_t *config_reader_place(const struct config_reader *reader, const void *field)
{
    const struct config_place *place = find_place(reader, field);
    return place ? &place->mark : NULL;
}

bool config_reader_is_bad(const struct config_reader *reader, const void *field)
{
    const struct config_place *place = find_place(reader, field);
    return place && place->bad;
}

void config_reader_fini(struct config_reader *reader)
{
    free(reader->places);
    buf_free(&reader->path);
}
