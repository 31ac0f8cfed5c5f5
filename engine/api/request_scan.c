/* Members may come in any order, but each once and under one of its names; then it does not matter
 * whose spelling a name is of. Nothing is allocated before all is known to be in order. */
#include "api/request_scan.h"
#include "base/decimal.h"
#include "base/mem.h"
#include "msg/client_id.h"
#include "proto/json_scan.h"
#include <string.h>

enum { NAME_LEN_MAX = 9 };

/* What a member's name may stand for. `c` is a client or a channel: the method tells. */
enum word { NONE, METHOD, PARAMS, ID, CLIENT, CHANNEL, EITHER, DATA, TYPE };

static const struct name {
    char text[NAME_LEN_MAX + 1];
    enum word word;
} outer_names[] = {{"m", METHOD},      {"p", PARAMS}, {"i", ID}, {"method", METHOD},
                   {"params", PARAMS}, {"id", ID},    {"", NONE}},
  inner_names[] = {{"c", EITHER},        {"d", DATA},    {"t", TYPE}, {"client_id", CLIENT},
                   {"channel", CHANNEL}, {"data", DATA}, {"", NONE}};

struct found {
    unsigned have; /* a bit for each word */
    struct json_text method, data;
    struct json_text to; /* the client or the channel, unless it came as a number */
    uint64_t client;     /* that number */
    uint64_t id;
    bool numbered;
    enum envelope_spelling spelling;
};

static bool is(const struct json_text *text, const char *word)
{
    return text->len == strlen(word) && memcmp(text->data, word, text->len) == 0;
}

static enum word word_of(const struct json_text *text, const struct name *name)
{
    while (name->word != NONE && !is(text, name->text))
        name++;
    return name->word;
}

/* A name and its colon; NONE when it is unknown, or was there before. */
static enum word scan_name(struct json_scan *scan, struct found *found, const struct name *names)
{
    struct json_text text;
    if (!json_scan_string(scan, &text) || !json_scan_char(scan, ':'))
        return NONE;
    enum word word = word_of(&text, names);
    bool again = found->have & 1u << word;
    found->have |= 1u << word;
    if (word == METHOD)
        found->spelling = text.len > 1 ? ENVELOPE_A : ENVELOPE_B;
    return again ? NONE : word;
}

static bool scan_to(struct json_scan *scan, struct found *found)
{
    struct json_scan before = *scan;
    if (json_scan_string(scan, &found->to))
        return true;
    *scan = before;
    found->numbered = true;
    return json_scan_count(scan, &found->client);
}

static bool scan_inner(struct json_scan *scan, struct found *found)
{
    struct json_text type;
    switch (scan_name(scan, found, inner_names)) {
    case CLIENT:
    case CHANNEL:
    case EITHER:
        return scan_to(scan, found);
    case DATA:
        return json_scan_string(scan, &found->data);
    case TYPE:
        return json_scan_string(scan, &type) && is(&type, "text");
    default:
        return false;
    }
}

static bool scan_members(struct json_scan *scan, struct found *found,
                         bool (*scan_one)(struct json_scan *scan, struct found *found))
{
    if (!json_scan_char(scan, '{'))
        return false;
    do
        if (!scan_one(scan, found))
            return false;
    while (json_scan_char(scan, ','));
    return json_scan_char(scan, '}');
}

static bool scan_params(struct json_scan *scan, struct found *found)
{
    bool list = json_scan_char(scan, '[');
    return scan_members(scan, found, scan_inner) && (!list || json_scan_char(scan, ']'));
}

static bool scan_outer(struct json_scan *scan, struct found *found)
{
    switch (scan_name(scan, found, outer_names)) {
    case METHOD:
        return json_scan_string(scan, &found->method);
    case PARAMS:
        return scan_params(scan, found);
    case ID:
        return json_scan_count(scan, &found->id);
    default:
        return false;
    }
}

static bool has(const struct found *found, enum word word)
{
    return found->have & 1u << word;
}

/* One of its names, and not a name of the other. */
static bool names_one(const struct found *found, enum word word, enum word other)
{
    return has(found, word) != has(found, EITHER) && !has(found, other);
}

/* The method's own conditions; a client's id is a number afterwards. */
static bool complete(struct found *found, bool *publish)
{
    *publish = is(&found->method, "mesh.publish");
    if (*publish)
        return names_one(found, CHANNEL, CLIENT) && !found->numbered &&
               found->to.len <= REQUEST_CHANNEL_MAX;
    return is(&found->method, "mesh.send") && names_one(found, CLIENT, CHANNEL) &&
           (found->numbered || client_id_parse(found->to.data, found->to.len, &found->client));
}

static struct blob *blob_of(const struct json_text *text)
{
    struct blob *blob = blob_new(NULL, text->len);
    blob->len = json_text_copy(blob->data, text);
    blob->data[blob->len] = '\0';
    return blob;
}

bool request_scan(struct request *out, const char *text, size_t len)
{
    struct json_scan scan = {text, text + len};
    struct found found = {0};
    bool publish;
    if (!scan_members(&scan, &found, scan_outer) || !json_scan_end(&scan) || !has(&found, DATA) ||
        !complete(&found, &publish))
        return false;
    struct command *command = command_new(publish ? COMMAND_PUBLISH : COMMAND_SEND);
    command->client = publish ? 0 : found.client;
    command->name = publish ? blob_of(&found.to) : NULL;
    command->data = blob_of(&found.data);
    *out =
        (struct request){.kind = REQUEST_COMMAND, .spelling = found.spelling, .command = command};
    if (has(&found, ID))
        decimal_format(found.id, out->id = xmalloc(DECIMAL_TEXT));
    return true;
}
