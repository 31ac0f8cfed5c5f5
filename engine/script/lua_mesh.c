/* mix.mesh: this worker's clients at once, the others through the mesh, whose outcomes the handler
 * awaits: that is the script's credit. */
#include "base/mem.h"
#include "msg/client_id.h"
#include "script/generation.h"
#include "script/lua_helpers.h"
#include "script/lua_modules.h"
#include "script/session.h"
#include <lauxlib.h>

enum { ANSWER_MS = 3000 }; /* a worker that a script has stuck does not hold up the others' */

static void on_no_answer(struct timeout *timeout)
{
    struct task *task = container_of(timeout, struct task, timer);
    task->why = "no answer from another worker";
    task_wake(task);
}

static int await(struct task *task, const struct task_wait *wait)
{
    script_env_set_timeout(task->vm->env, &task->timer, ANSWER_MS, on_no_answer);
    return task_suspend(task, wait);
}

static void cut_nothing(struct task *task)
{
    (void)task;
}

/* -- send -- */

static int send_results(struct task *task)
{
    return lua_outcome(task->L, task->why);
}

static void send_cut(struct task *task)
{
    task->why = "closed";
}

static const struct task_wait send_wait = {
    .what = "mesh.send", .cut = send_cut, .results = send_results};

/* An encoder that sends to other workers, whose encoders send back, would never come to an end; and
 * at the very end there is nobody to send to. */
static bool may_not_post(const struct script_env *env)
{
    return env->hops >= COMMAND_HOPS_MAX || env->over;
}

static int send_elsewhere(lua_State *L, struct vm *vm, uint64_t client, const char *data,
                          size_t len, bool binary)
{
    const char *why;
    if (may_not_post(vm->env))
        return lua_outcome(L, "not sent: protocol_encode sends too deep, or the engine stops");
    struct task *task = task_may_suspend(vm, L, &why) ? vm->env->running : NULL;
    struct command *command = command_new(COMMAND_SEND);
    command->hops = (uint8_t)(vm->env->hops + 1);
    command->client = client;
    command->binary = binary;
    command->data = blob_new(data, len);
    if (task) {
        command->reply_to = vm->env->box;
        command->tag = task_tag(task);
    }
    if (mesh_submit(vm->env->mesh, command) != 0) {
        command_free(command);
        return lua_outcome(L, "no such client");
    }
    if (!task)
        return lua_outcome(L, NULL);
    task->why = NULL;
    task->expected = 1;
    return await(task, &send_wait);
}

/* err = mesh.send(client_id, data[, type]) */
static int mesh_send(lua_State *L)
{
    struct vm *vm = vm_of(L);
    size_t id_len, len;
    uint64_t client;
    const char *id = luaL_checklstring(L, 1, &id_len);
    const char *data = luaL_checklstring(L, 2, &len);
    bool binary = lua_check_binary(L, 3);
    if (!client_id_parse(id, id_len, &client))
        return lua_outcome(L, "no such client");
    if (generation_stage(vm, L))
        return lua_outcome(L, NULL);
    if (client_node(client) != vm->env->node || client_worker(client) != vm->env->worker)
        return send_elsewhere(L, vm, client, data, len, binary);
    struct session *s = session_find(vm->env, client);
    return lua_outcome(L, s ? session_send_encoded(s, data, len, binary) : "no such client");
}

/* -- publish -- */

static int push_counts(lua_State *L, uint32_t success, uint32_t fail)
{
    lua_pushinteger(L, (lua_Integer)success);
    lua_pushinteger(L, (lua_Integer)fail);
    return 2;
}

/* A worker that has not answered counts as one that failed, as in the API's answer. */
static int publish_results(struct task *task)
{
    return push_counts(task->L, task->success, task->fail + task->expected);
}

static const struct task_wait publish_wait = {
    .what = "mesh.publish", .cut = cut_nothing, .results = publish_results};

static int publish_elsewhere(struct script_env *env, struct task *task, const char *channel,
                             size_t channel_len, const char *data, size_t len, bool binary)
{
    if (may_not_post(env))
        return 0;
    struct command command = {
        .kind = COMMAND_PUBLISH,
        .hops = (uint8_t)(env->hops + 1),
        .reply_to = task ? env->box : NULL,
        .tag = task ? task_tag(task) : 0,
        .binary = binary,
        .name = blob_new(channel, channel_len),
        .data = blob_new(data, len),
    };
    int posted = mesh_publish(env->mesh, (int)env->worker, &command);
    blob_unref(command.name);
    blob_unref(command.data);
    return posted;
}

/* success, fail = mesh.publish(channel, data[, type]) */
static int mesh_publish_call(lua_State *L)
{
    struct vm *vm = vm_of(L);
    size_t channel_len, len;
    const char *channel = luaL_checklstring(L, 1, &channel_len);
    const char *data = luaL_checklstring(L, 2, &len), *why;
    bool binary = lua_check_binary(L, 3);
    if (generation_stage(vm, L))
        return push_counts(L, channel_subscribers(vm->env->channels, channel, channel_len), 0);
    struct task *task = task_may_suspend(vm, L, &why) ? vm->env->running : NULL;
    uint32_t success, fail;
    session_publish(vm->env, channel, channel_len, data, len, binary, &success, &fail);
    int posted = publish_elsewhere(vm->env, task, channel, channel_len, data, len, binary);
    if (!task || posted == 0)
        return push_counts(L, success, fail);
    task->success = success;
    task->fail = fail;
    task->expected = (uint32_t)posted;
    return await(task, &publish_wait);
}

/* -- count -- */

static int count_results(struct task *task)
{
    if (task->why)
        return lua_fail(task->L, task->why);
    lua_pushinteger(task->L, (lua_Integer)task->success);
    return 1;
}

static const struct task_wait count_wait = {
    .what = "mesh.count", .cut = send_cut, .results = count_results};

static int count_elsewhere(struct task *task, const char *channel, size_t len)
{
    struct script_env *env = task->vm->env;
    struct command command = {
        .kind = COMMAND_COUNT,
        .reply_to = env->box,
        .tag = task_tag(task),
        .name = blob_new(channel, len),
    };
    int posted = mesh_publish(env->mesh, (int)env->worker, &command);
    blob_unref(command.name);
    return posted;
}

/* n, err = mesh.count(channel). Without the others' answers there is no number: where it cannot
 * wait it fails with one worker too, so that a script does not work by the size of its machine. */
static int mesh_count(lua_State *L)
{
    struct vm *vm = vm_of(L);
    size_t len;
    const char *channel = luaL_checklstring(L, 1, &len), *why;
    if (!task_may_suspend(vm, L, &why))
        return lua_fail(L, why);
    struct task *task = vm->env->running;
    task->why = NULL;
    task->success = channel_subscribers(vm->env->channels, channel, len);
    task->expected = (uint32_t)count_elsewhere(task, channel, len);
    return task->expected == 0 ? count_results(task) : await(task, &count_wait);
}

void lua_mesh_outcome(struct script_env *env, struct command *command)
{
    struct task *task = task_find(env, command->tag);
    if (task) {
        task->success += command->delivered;
        task->fail += command->failed;
        if (command->status == COMMAND_NO_CLIENT)
            task->why = "no such client";
        else if (command->status == COMMAND_FAILED)
            task->why = command->why;
        if (--task->expected == 0)
            task_wake(task);
    }
    command_free(command);
}

void lua_mesh_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"send", mesh_send},
        {"publish", mesh_publish_call},
        {"count", mesh_count},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_setfield(L, -2, "mesh");
}
