#include "args.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char LOGIN[] = "args must be [name, password], of 1 to 255 bytes each";
static const char CHANNELS[] = "args must be a list of 1 to 100 channels, of 1 to 255 bytes each";
static const char MESSAGE[] =
    "args must be [channel, message], of 1 to 255 and of 1 to 65536 bytes";
static const char BROADCAST[] = "args must be [message], of 1 to 65536 bytes";

/* A number becomes a string in the list itself, which so owns it like the others. */
static json_t *text_at(json_t *args, size_t index)
{
    json_t *value = json_array_get(args, index);
    if (!json_is_integer(value))
        return json_is_string(value) ? value : NULL;
    char digits[24];
    snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    json_array_set_new(args, index, json_string(digits));
    return json_array_get(args, index);
}

/* The name at `index`: C strings go from here to the database, so there is no NUL in it. */
static bool take_name(json_t *args, size_t index, const char **name)
{
    json_t *text = text_at(args, index);
    size_t len = json_string_length(text);
    *name = json_string_value(text);
    return len >= 1 && len <= ARGS_NAME_MAX && strlen(*name) == len;
}

static bool take_message(json_t *args, size_t index, struct args_message *message)
{
    json_t *text = text_at(args, index);
    message->text = json_string_value(text);
    message->len = json_string_length(text);
    return message->len >= 1 && message->len <= ARGS_MESSAGE_MAX;
}

const char *args_login(json_t *args, struct args_login *login)
{
    return take_name(args, 0, &login->name) && take_name(args, 1, &login->password) ? NULL : LOGIN;
}

const char *args_channels(json_t *args, struct args_channels *channels)
{
    channels->count = json_array_size(args);
    if (channels->count < 1 || channels->count > ARGS_CHANNELS_MAX)
        return CHANNELS;
    for (size_t i = 0; i < channels->count; i++) {
        if (!take_name(args, i, &channels->names[i]))
            return CHANNELS;
    }
    return NULL;
}

const char *args_message(json_t *args, struct args_message *message)
{
    return take_name(args, 0, &message->channel) && take_message(args, 1, message) ? NULL : MESSAGE;
}

const char *args_broadcast(json_t *args, struct args_message *message)
{
    return take_message(args, 0, message) ? NULL : BROADCAST;
}
