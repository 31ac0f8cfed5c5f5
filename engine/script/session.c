#include "script/session.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "msg/client_id.h"
#include "net/tally.h"
#include "script/dispatch.h"
#include "script/lua_buf.h"
#include "script/session_input.h"
#include "script/session_protocol.h"
#include "script/session_ws.h"
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CODE_POLICY = 1008,
    CODE_TRY_LATER = 1013,
};

/* -- the end -- */

void session_ready(struct session *s)
{
    if (list_empty(&s->in_ready))
        list_push_back(&s->vm->env->ready, &s->in_ready);
}

static void leave_channels(struct session *s)
{
    if (s->subscriber.count == 0)
        return;
    channel_unsubscribe_all(s->vm->env->channels, &s->subscriber);
    session_count_channels(s->vm->env);
}

static void cut_short(struct session *s, bool closing)
{
    if (s->suspended)
        task_cut(s->task, closing);
    session_ready(s);
}

void session_close(struct session *s, enum close_reason reason, const char *why)
{
    if (s->closing)
        return;
    s->closing = true;
    s->reason = reason;
    s->why = why;
    leave_channels(s);
    if (s->conn)
        conn_close(s->conn);
    /* on_close itself is the last thing that happens: nothing cuts it short. */
    if (s->stage != STAGE_CLOSE)
        cut_short(s, true);
}

void session_dismiss(struct session *s, enum close_reason reason, uint16_t code, const char *text,
                     const char *why)
{
    if (s->closing)
        return;
    if (code == 0)
        code = s->vm->protocol->close_code;
    if (code != 0)
        session_ws_goodbye(s, code, text);
    session_close(s, reason, why);
}

static void forget_lua(struct session *s)
{
    lua_State *L = s->vm->L;
    if (s->context_ref != LUA_NOREF)
        counter_add(&s->vm->env->stats->contexts, -1);
    luaL_unref(L, LUA_REGISTRYINDEX, s->context_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, s->conn_ref);
    s->context_ref = s->conn_ref = LUA_NOREF;
    s->context_bytes = 0;
    dispatch_forget(s);
    session_ws_free(s);
}

/* on_close has returned: the id means nothing from here on. */
static void over(struct session *s)
{
    s->closing = true;
    s->stage = STAGE_OVER;
    counter_add(&s->vm->stats->closes[s->reason], 1);
    leave_channels(s);
    slots_remove(s->vm->env->sessions, client_number(s->id));
    forget_lua(s);
    if (s->conn)
        conn_close(s->conn);
}

static void leave_tally(struct session *s)
{
    struct sockaddr_storage peer;
    if (!s->counted)
        return;
    address_unpack(&peer, &s->peer);
    tally_leave(s->vm->env->tallies[s->vm->index], &peer, clock_ns());
}

static void free_if_gone(struct session *s)
{
    struct script_env *env = s->vm->env;
    if (s->stage != STAGE_OVER || s->conn || s->waiting_pushes > 0)
        return;
    int server = s->vm->index;
    list_remove(&s->in_ready);
    list_remove(&s->in_all);
    terms_unref(s->terms);
    free(s);
    counter_add(&env->stats->connections, -1);
    counter_add(&env->servers[server].connections, -1);
    env->on_gone(env, server);
}

bool session_is_ending(const struct session *s)
{
    return s && s->stage != STAGE_CLOSE && (s->closing || s->ended);
}

bool session_is_over(const struct session *s)
{
    return s->stage == STAGE_OVER;
}

uint64_t session_weight(const struct session *s)
{
    return s->conn ? conn_weight(s->conn) + session_ws_weight(s) + s->context_bytes : 0;
}

void session_shed(struct session *s)
{
    if (!s->conn)
        return;
    if (s->closing) {
        conn_abort(s->conn);
    } else {
        conn_shed(s->conn, "the engine is at its memoryLimit");
        conn_discard(s->conn);
    }
    session_ws_forget_input(s);
}

void session_abandon(struct session *s)
{
    if (s->suspended) {
        task_abandon(s->task);
        lua_buf_point(s->task->view, NULL);
    }
    if (!s->closing)
        s->reason = CLOSE_STOP;
    if (s->stage != STAGE_OVER)
        over(s);
    s->waiting_pushes = 0;
    if (s->conn)
        conn_abort(s->conn);
    free_if_gone(s);
}

void session_push_answered(struct session *s)
{
    s->waiting_pushes--;
    free_if_gone(s);
}

/* -- handlers -- */

const char *session_input(const struct session *s, size_t *len)
{
    if (s->data) {
        *len = s->len - s->taken;
        return s->data + s->taken;
    }
    if (s->conn)
        return conn_held(s->conn, len);
    *len = 0;
    return NULL;
}

void session_discard_input(struct session *s)
{
    if (s->vm->protocol->next)
        return;
    s->discarded = true;
    s->starved = false;
    if (s->data)
        s->taken = s->len;
    else if (s->conn)
        conn_discard(s->conn);
}

void session_take(struct session *s, size_t len)
{
    if (s->data)
        s->taken += len;
    else
        conn_take(s->conn, len);
}

lua_State *session_stack(struct session *s)
{
    if (!s->task)
        s->task = task_new(s->vm, s);
    return s->task->L;
}

static bool push_handler(struct session *s, lua_State *L)
{
    const char *const *names = s->vm->protocol->handlers[s->stage];
    for (int i = 0; i < HANDLER_NAMES && names[i]; i++) {
        s->handler = names[i];
        vm_push_global(s->vm, L, s->handler);
        if (lua_isfunction(L, -1))
            return true;
        lua_pop(L, 1);
    }
    return false;
}

bool session_is_handled(struct session *s)
{
    lua_State *L = session_stack(s);
    bool handled = push_handler(s, L);
    lua_pop(L, handled);
    return handled;
}

/* Puts the handler and its arguments on the task's stack; how many arguments, -1: there is no
 * handler. Values that the stage before left on the stack are the first arguments. */
static int push_call(struct session *s)
{
    lua_State *L = session_stack(s);
    if (!push_handler(s, L))
        return -1;
    lua_insert(L, 1);
    if (s->stage == STAGE_CLOSE)
        lua_pushstring(L, s->why);
    s->vm->protocol->push_connection(s, L);
    return lua_gettop(L) - 1;
}

/* A stage is over when its handler has returned, failed, or does not exist; each says what comes
 * next. */

static void after_connect(struct session *s, enum task_status status)
{
    (void)status;
    s->stage = STAGE_INPUT;
}

/* The loop has returned, or failed at the stage that it was in. */
static void after_input(struct session *s, enum task_status status)
{
    if (status == TASK_FAILED && s->stage == STAGE_INPUT)
        session_close(s, CLOSE_ERROR, "error in protocol_input");
    else if (status == TASK_FAILED && s->stage == STAGE_DECODE)
        session_close(s, CLOSE_ERROR, "error in protocol_decode");
    s->stage = STAGE_INPUT;
}

static void after_close(struct session *s, enum task_status status)
{
    (void)status;
    over(s);
}

static void finish(struct session *s, enum task_status status)
{
    static void (*const after[])(struct session *, enum task_status) = {
        [STAGE_CONNECT] = after_connect, [STAGE_INPUT] = after_input, [STAGE_DECODE] = after_input,
        [STAGE_MESSAGE] = after_input,   [STAGE_CLOSE] = after_close,
    };
    if (status == TASK_CUT)
        session_dismiss(s, CLOSE_ERROR, 1011, "", "a handler ran for too long");
    after[s->stage](s, status);
    if (s->task)
        lua_settop(s->task->L, 0);
}

/* False when the handler was suspended. */
static bool resume(struct session *s, int args)
{
    enum task_status status = task_resume(s->task, args, s->handler);
    if (status == TASK_SUSPENDED) {
        s->suspended = true;
        if (s->conn)
            conn_hold(s->conn);
        return false;
    }
    finish(s, status);
    return true;
}

static bool run_input(struct session *s)
{
    const struct session_protocol *protocol = s->vm->protocol;
    if (protocol->open && !session_ws_is_open(s)) {
        protocol->open(s);
        return true;
    }
    if (!dispatch_has_work(s))
        return true;
    lua_State *L = session_stack(s);
    s->handler = protocol->next ? "on_message" : "protocol_input";
    s->stage = protocol->next ? STAGE_MESSAGE : STAGE_INPUT;
    return resume(s, dispatch_push(s, L));
}

/* False when the handler was suspended. */
static bool run_stage(struct session *s)
{
    if (s->task && (s->stage == STAGE_INPUT || s->stage == STAGE_CLOSE))
        task_renew(s->task); /* a packet is served by one generation */
    if (s->stage == STAGE_INPUT)
        return run_input(s);
    s->greeted |= s->stage == STAGE_CONNECT;
    int args = push_call(s);
    if (args >= 0)
        return resume(s, args);
    finish(s, TASK_DONE);
    return true;
}

/* One stage; false when there is nothing to do for now. */
static bool step(struct session *s)
{
    if (s->stage == STAGE_OVER)
        return false;
    if (s->closing && s->stage != STAGE_CLOSE && s->stage != STAGE_CONNECT) {
        if (!s->greeted) {
            over(s);
            return false;
        }
        s->stage = STAGE_CLOSE;
    } else if (s->stage == STAGE_INPUT && session_wants_input(s)) {
        if (!s->ended)
            return false;
        session_close(s, CLOSE_CLIENT, NULL);
        return true;
    }
    if (s->stage == STAGE_CLOSE && s->task)
        lua_settop(s->task->L, 0);
    return run_stage(s);
}

static void pump(struct session *s)
{
    while (!s->suspended && step(s))
        continue;
    if (!s->suspended && s->task) {
        task_release(s->task);
        s->task = NULL;
    }
}

/* After a suspension: first what the stage leads to, then the input that came meanwhile. */
static void pump_held(struct session *s)
{
    if (s->conn)
        conn_let_go(s->conn);
    pump(s);
}

void session_turn(struct session *s)
{
    if (s->suspended) {
        if (!s->task->woken)
            return;
        enum task_status status = task_go_on(s->task, s->handler);
        if (status == TASK_SUSPENDED)
            return;
        s->suspended = false;
        finish(s, status);
        pump_held(s);
    } else {
        pump(s);
    }
    free_if_gone(s);
}

/* -- what the connection tells -- */

static size_t on_input(void *owner, const char *data, size_t len)
{
    struct session *s = owner;
    s->data = data;
    s->len = len;
    s->taken = 0;
    s->starved = s->starved && len == s->seen;
    pump(s);
    s->data = NULL;
    return s->taken;
}

/* The end of the input is seen, whatever comes before it: on_close itself is not cut short by it.
 */
static void on_hang_up(void *owner)
{
    struct session *s = owner;
    if (s->stage != STAGE_CLOSE)
        cut_short(s, false);
}

static void on_end(void *owner, enum close_reason reason, const char *why)
{
    struct session *s = owner;
    s->ended = true;
    if (why && conn_is_open(s->conn))
        session_dismiss(s, reason, CODE_TRY_LATER,
                        reason == CLOSE_SLOW ? "slow client" : "out of memory", why);
    else if (why)
        session_close(s, reason, why);
    else
        on_hang_up(s);
}

static void tell_of_flood(const struct session *s, const char *why)
{
    char remote[ADDRESS_TEXT];
    struct vm *vm = s->vm;
    if (!log_due(&vm->flood_logged_ms, uv_now(vm->env->loop)))
        return;
    log_warn("script",
             "servers[%d] closed client %llu (%s): %s; its limits are messagesPerSecond "
             "and bytesPerSecond",
             vm->index, (unsigned long long)s->id, session_remote(s, remote), why);
}

static void on_flood(void *owner, const char *why)
{
    struct session *s = owner;
    tell_of_flood(s, why);
    session_dismiss(s, CLOSE_LIMIT, CODE_POLICY, why, why);
}

static void on_closed(void *owner)
{
    struct session *s = owner;
    s->conn = NULL;
    leave_tally(s);             /* also while on_close waits: its address may come again */
    session_ws_forget_input(s); /* what has not come whole never will */
    free_if_gone(s);
}

static const struct conn_handlers conn_handlers = {
    .on_input = on_input,
    .on_end = on_end,
    .on_hang_up = on_hang_up,
    .on_flood = on_flood,
    .on_closed = on_closed,
};

/* -- the beginning -- */

static struct session *make(struct vm *vm, const struct msg_accepted *accepted)
{
    struct script_env *env = vm->env;
    struct session *s = xcalloc(1, sizeof *s + conn_size(&vm->terms->limits));
    uint64_t number = slots_put(env->sessions, s);
    if (number == 0) {
        free(s);
        return NULL;
    }
    s->id = client_id(env->node, env->worker, number);
    s->vm = vm;
    s->terms = terms_ref(vm->terms);
    s->stage = vm->protocol->first;
    s->conn_ref = s->context_ref = LUA_NOREF;
    list_init(&s->in_ready);
    list_init(&s->in_all);
    address_pack(&s->peer, &accepted->peer);
    s->counted = accepted->counted;
    return s;
}

bool session_open(struct vm *vm, const struct msg_accepted *accepted)
{
    struct script_env *env = vm->env;
    struct session *s = make(vm, accepted);
    if (!s) {
        log_warn("script", "worker %u has no client id left: a connection is refused", env->worker);
        return false;
    }
    s->conn = conn_open(s->conn_memory, env->conns, accepted->fd, accepted->tls, &s->terms->limits,
                        &conn_handlers, s);
    session_meter(s);
    list_push_back(&env->all, &s->in_all);
    counter_add(&env->stats->connections, 1);
    counter_add(&vm->stats->connections, 1);
    if (vm->websocket)
        session_ws_start_timer(s);
    pump(s);
    if (s->conn && conn_is_open(s->conn))
        conn_start(s->conn);
    return true;
}

struct session *session_find(struct script_env *env, uint64_t id)
{
    /* init() may name a client before there can be any. */
    if (!env->sessions || client_node(id) != env->node || client_worker(id) != env->worker)
        return NULL;
    return slots_get(env->sessions, client_number(id));
}
