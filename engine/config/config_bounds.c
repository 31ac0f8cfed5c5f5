#include "config/config_bounds.h"

#include "base/check.h"

struct counts {
    unsigned depth, anchors, aliases;
};

static void count(struct counts *counts, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        counts->anchors += event->data.scalar.anchor != NULL;
        break;
    case YAML_SEQUENCE_START_EVENT:
        counts->anchors += event->data.sequence_start.anchor != NULL;
        counts->depth++;
        break;
    case YAML_MAPPING_START_EVENT:
        counts->anchors += event->data.mapping_start.anchor != NULL;
        counts->depth++;
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        counts->depth--;
        break;
    case YAML_ALIAS_EVENT:
        counts->aliases++;
        break;
    default:
        break;
    }
}

static bool is_bounded(struct config_reader *reader, const struct counts *counts,
                       const yaml_mark_t *mark)
{
    if (counts->depth > CONFIG_DEPTH_MAX)
        config_reader_error(reader, mark, "nested deeper than %d", CONFIG_DEPTH_MAX);
    else if (counts->anchors > CONFIG_ANCHORS_MAX)
        config_reader_error(reader, mark, "more than %d anchors (&name)", CONFIG_ANCHORS_MAX);
    else if (counts->aliases > CONFIG_ALIASES_MAX)
        config_reader_error(reader, mark, "more than %d aliases (*name)", CONFIG_ALIASES_MAX);
    else
        return true;
    return false;
}

bool config_bounds_check(struct config_reader *reader, const char *text, size_t len)
{
    yaml_parser_t parser;
    yaml_event_t event;
    struct counts counts = {0};
    bool more = true, bounded = true;
    CHECK(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    while (more && bounded && yaml_parser_parse(&parser, &event)) {
        count(&counts, &event);
        bounded = is_bounded(reader, &counts, &event.start_mark);
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return bounded;
}
