#include "script/redis_command.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* -- writing -- */

void redis_command_begin(struct buf *out, size_t args)
{
    buf_printf(out, "*%zu\r\n", args);
}

void redis_command_add(struct buf *out, const char *data, size_t len)
{
    buf_printf(out, "$%zu\r\n", len);
    buf_append(out, data, len);
    buf_append(out, "\r\n", 2);
}

/* -- reading what was written -- */

struct arg {
    const char *data;
    size_t len;
};

struct args {
    const char *at, *end;
    size_t left;
};

static size_t take_number(struct args *args)
{
    char *end;
    size_t n = strtoull(args->at + 1, &end, 10);
    args->at = end + 2;
    return n;
}

static struct args args_of(const char *command, size_t len)
{
    struct args args = {.at = command, .end = command + len};
    args.left = take_number(&args);
    return args;
}

static bool next_arg(struct args *args, struct arg *arg)
{
    if (args->left == 0)
        return false;
    args->left--;
    arg->len = take_number(args);
    arg->data = args->at;
    args->at += arg->len + 2;
    return true;
}

static bool arg_is(const struct arg *arg, const char *word)
{
    return arg->len == strlen(word) && strncasecmp(arg->data, word, arg->len) == 0;
}

/* -- what each needs -- */

enum place { NOWHERE, FIRST, LAST, OPTION }; /* of the time that it waits at most */

struct rule {
    const char *name, *sub; /* sub: holds for this subcommand alone */
    const char *refused;
    enum place place;
    unsigned unit_ms;
};

#define SUBSCRIBES                                                                                 \
    "a script has no connection of its own to hear messages on; use a channel of the engine"
#define TRANSACTION                                                                                \
    "scripts share their connections, so a transaction is not one client's; use EVAL"
#define CONFIGURED "the connection is as engine.luavm.redis of the configuration says"

static const struct rule rules[] = {
    {.name = "BLPOP", .place = LAST, .unit_ms = 1000},
    {.name = "BRPOP", .place = LAST, .unit_ms = 1000},
    {.name = "BRPOPLPUSH", .place = LAST, .unit_ms = 1000},
    {.name = "BLMOVE", .place = LAST, .unit_ms = 1000},
    {.name = "BZPOPMIN", .place = LAST, .unit_ms = 1000},
    {.name = "BZPOPMAX", .place = LAST, .unit_ms = 1000},
    {.name = "BLMPOP", .place = FIRST, .unit_ms = 1000},
    {.name = "BZMPOP", .place = FIRST, .unit_ms = 1000},
    {.name = "WAIT", .place = LAST, .unit_ms = 1},
    {.name = "WAITAOF", .place = LAST, .unit_ms = 1},
    {.name = "XREAD", .place = OPTION, .unit_ms = 1},
    {.name = "XREADGROUP", .place = OPTION, .unit_ms = 1},
    {.name = "SUBSCRIBE", .refused = SUBSCRIBES},
    {.name = "PSUBSCRIBE", .refused = SUBSCRIBES},
    {.name = "SSUBSCRIBE", .refused = SUBSCRIBES},
    {.name = "UNSUBSCRIBE", .refused = SUBSCRIBES},
    {.name = "PUNSUBSCRIBE", .refused = SUBSCRIBES},
    {.name = "SUNSUBSCRIBE", .refused = SUBSCRIBES},
    {.name = "MONITOR", .refused = SUBSCRIBES},
    {.name = "SYNC", .refused = SUBSCRIBES},
    {.name = "PSYNC", .refused = SUBSCRIBES},
    {.name = "MULTI", .refused = TRANSACTION},
    {.name = "EXEC", .refused = TRANSACTION},
    {.name = "DISCARD", .refused = TRANSACTION},
    {.name = "WATCH", .refused = TRANSACTION},
    {.name = "UNWATCH", .refused = TRANSACTION},
    {.name = "AUTH", .refused = CONFIGURED},
    {.name = "SELECT", .refused = CONFIGURED},
    {.name = "HELLO", .refused = CONFIGURED},
    {.name = "RESET", .refused = CONFIGURED},
    {.name = "QUIT", .refused = CONFIGURED},
    {.name = "CLIENT", .sub = "REPLY", .refused = CONFIGURED},
};

static const struct rule *find_rule(struct args args)
{
    struct arg name, sub;
    if (!next_arg(&args, &name))
        return NULL;
    bool has_sub = next_arg(&args, &sub);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (arg_is(&name, rules[i].name) &&
            (!rules[i].sub || (has_sub && arg_is(&sub, rules[i].sub))))
            return &rules[i];
    return NULL;
}

/* The argument that says for how long; false when there is none. */
static bool find_time(struct args args, enum place place, struct arg *time)
{
    struct arg arg;
    if (!next_arg(&args, &arg) || !next_arg(&args, time))
        return false;
    if (place == LAST)
        while (next_arg(&args, time))
            continue;
    while (place == OPTION) {
        bool here = arg_is(time, "BLOCK");
        if (!next_arg(&args, time))
            return false;
        if (here)
            break;
    }
    return true;
}

/* What is no time at all is the server's to refuse, which it does at once. */
static uint64_t read_time(const struct arg *arg, unsigned unit_ms)
{
    double time = strtod(arg->data, NULL) * unit_ms; /* its CRLF ends it */
    if (time == 0)
        return REDIS_FOR_EVER;
    return time > 0 && time < 1e15 ? (uint64_t)time : time > 0 ? REDIS_FOR_EVER : 0;
}

struct redis_need redis_command_need(const char *command, size_t len)
{
    struct args args = args_of(command, len);
    const struct rule *rule = find_rule(args);
    struct redis_need need = {0};
    struct arg time;
    if (!rule)
        return need;
    need.refused = rule->refused;
    if (rule->place != NOWHERE && find_time(args, rule->place, &time)) {
        need.alone = true;
        need.wait_ms = read_time(&time, rule->unit_ms);
    }
    return need;
}
