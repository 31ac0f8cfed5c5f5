/* What commands do to a session: its channels, its context. */
#include "base/check.h"
#include "msg/client_id.h"
#include "script/json.h"
#include "script/lua_conn.h"
#include "script/lua_request.h"
#include "script/session_ws.h"
#include <lauxlib.h>
#include <string.h>

/* -- channels -- */

void session_count_channels(struct script_env *env)
{
    counter_set(&env->stats->subscriptions, channels_subscriptions(env->channels));
    counter_set(&env->stats->channels, channels_count(env->channels));
}

const char *session_subscribe(struct session *s, const char *name, size_t len)
{
    struct script_env *env = s->vm->env;
    const struct config_server *server = s->terms->server;
    if (s->closing)
        return SESSION_CLOSED;
    if (len > server->max_channel_length)
        return "channel name longer than maxChannelLength";
    if (s->subscriber.count >= server->max_subscriptions &&
        !channel_subscribed(env->channels, &s->subscriber, name, len))
        return "more than maxSubscriptions channels";
    channel_subscribe(env->channels, &s->subscriber, name, len);
    session_count_channels(env);
    return NULL;
}

const char *session_unsubscribe(struct session *s, const char *name, size_t len)
{
    if (s->closing)
        return SESSION_CLOSED;
    channel_unsubscribe(s->vm->env->channels, &s->subscriber, name, len);
    session_count_channels(s->vm->env);
    return NULL;
}

/* -- the context -- */

bool session_has_context(const struct session *s)
{
    return s->context_ref != LUA_NOREF || session_ws_kept(s);
}

/* With the headers of the request, which are in no other place afterwards. */
static void make_context(struct session *s, lua_State *L)
{
    struct vm *outside = vm_enter(s->vm->env, NULL);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    s->context_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    counter_add(&s->vm->env->stats->contexts, 1);
    lua_request_recall(L, s);
    lua_pop(L, 1);
    vm_enter(s->vm->env, outside);
}

void session_push_context(struct session *s, lua_State *L)
{
    if (s->context_ref == LUA_NOREF)
        make_context(s, L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->context_ref);
}

/* The size of the context as JSON. A value that has no JSON was not set by a consumer and counts 0.
 */
static size_t measure_context(struct session *s, lua_State *L)
{
    struct buf *json = &s->vm->env->json;
    const char *why;
    size_t size = 0, key_len;
    session_push_context(s, L);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        json->len = 0;
        json_encode(L, -1, json, &why);
        size += json->len;
        if (lua_type(L, -2) == LUA_TSTRING && lua_tolstring(L, -2, &key_len))
            size += key_len;
    }
    lua_pop(L, 1);
    return size;
}

static bool context_has_room(struct session *s, size_t more)
{
    uint64_t max = s->terms->server->max_context;
    if (s->context_bytes + more > max)
        s->context_bytes = measure_context(s, s->vm->L);
    if (s->context_bytes + more > max)
        return false;
    s->context_bytes += more;
    return true;
}

const char *session_set_context(struct session *s, const struct blob *pairs)
{
    lua_State *L = s->vm->L;
    size_t offset = 0, key_len, len;
    const char *key, *text;
    if (s->closing)
        return SESSION_CLOSED;
    if (!context_has_room(s, pairs->len))
        return "context larger than maxContext";
    session_push_context(s, L);
    while (strings_next(pairs, &offset, &key, &key_len) &&
           strings_next(pairs, &offset, &text, &len)) {
        lua_pushlstring(L, key, key_len);
        if (!json_decode(L, text, len)) {
            lua_pop(L, 3);
            return "value nested too deeply";
        }
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
    lua_conn_context_changed(s);
    return NULL;
}

/* Pushes a table of what the context has under these keys; null where that is nothing. */
static void push_selection(struct session *s, lua_State *L, const struct blob *keys)
{
    size_t offset = 0, len;
    const char *key;
    session_push_context(s, L);
    lua_newtable(L);
    while (strings_next(keys, &offset, &key, &len)) {
        lua_pushlstring(L, key, len);
        lua_pushvalue(L, -1);
        lua_rawget(L, -4);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            lua_pushlightuserdata(L, NULL);
        }
        lua_rawset(L, -3);
    }
    lua_remove(L, -2);
}

/* The key and the value on top of the stack; a value that has no JSON is null. */
static void append_member(lua_State *L, struct buf *out)
{
    const char *why;
    if (lua_type(L, -2) != LUA_TSTRING && lua_type(L, -2) != LUA_TNUMBER)
        return;
    if (out->len > 1)
        buf_append_char(out, ',');
    lua_pushvalue(L, -2); /* lua_tostring would change the key under lua_next */
    lua_tostring(L, -1);
    json_encode(L, -1, out, &why);
    lua_pop(L, 1);
    buf_append_char(out, ':');
    if (!json_encode(L, -1, out, &why))
        buf_append_str(out, "null");
}

static const char *get_context(struct session *s, const struct blob *keys, struct blob **result)
{
    lua_State *L = s->vm->L;
    struct buf json = {0};
    if (keys->len > 0)
        push_selection(s, L, keys);
    else
        session_push_context(s, L);
    buf_append_char(&json, '{');
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        append_member(L, &json);
        if (json.len >= COMMAND_RESULT_MAX) {
            lua_pop(L, 2);
            break;
        }
    }
    lua_pop(L, 1);
    buf_append_char(&json, '}');
    bool fits = json.len <= COMMAND_RESULT_MAX;
    if (fits)
        *result = blob_new(json.data, json.len);
    buf_free(&json);
    return fits ? NULL : "the context is larger than 128 KiB: ask for single keys";
}

/* -- commands -- */

static const char *each_channel(struct session *s, const struct blob *packed,
                                const char *(*change)(struct session *, const char *, size_t))
{
    size_t offset = 0, len;
    const char *name, *why = NULL;
    while (!why && strings_next(packed, &offset, &name, &len))
        why = change(s, name, len);
    return why;
}

static const char *act(struct session *s, struct command *c)
{
    switch (c->kind) {
    case COMMAND_SEND:
        return session_send_encoded(s, c->data->data, c->data->len, c->binary);
    case COMMAND_SET_CONTEXT:
        return session_set_context(s, c->data);
    case COMMAND_GET_CONTEXT:
        return get_context(s, c->data, &c->result);
    case COMMAND_SUBSCRIBE:
        return each_channel(s, c->data, session_subscribe);
    case COMMAND_UNSUBSCRIBE:
        return each_channel(s, c->data, session_unsubscribe);
    case COMMAND_CLOSE:
        session_dismiss(s, CLOSE_CONSUMER, c->code, c->data->data, NULL);
        return NULL;
    case COMMAND_PUBLISH:
    case COMMAND_COUNT:
        break;
    }
    CHECK(!"a command on a channel has no client");
    return NULL;
}

static void carry_out(struct script_env *env, struct command *c)
{
    c->status = COMMAND_DONE;
    if (c->kind == COMMAND_PUBLISH) {
        session_publish(env, c->name->data, c->name->len, c->data->data, c->data->len, c->binary,
                        &c->delivered, &c->failed);
        return;
    }
    if (c->kind == COMMAND_COUNT) {
        c->delivered = channel_subscribers(env->channels, c->name->data, c->name->len);
        return;
    }
    struct session *s = session_find(env, c->client);
    if (!s || s->closing) {
        c->status = COMMAND_NO_CLIENT;
        c->failed = 1;
        return;
    }
    c->why = act(s, c);
    if (c->kind == COMMAND_SEND)
        session_count_sent(s->vm);
    c->status = c->why ? COMMAND_FAILED : COMMAND_DONE;
    c->delivered = !c->why;
    c->failed = !!c->why;
}

void session_command(struct script_env *env, struct command *c)
{
    env->hops = c->hops;
    env->posted_ns = c->posted_ns;
    carry_out(env, c);
    env->hops = 0;
    env->posted_ns = 0;
}
