#include "api/caller.h"
#include <string.h>

int caller_init(struct caller *caller, struct api *api, void (*on_known)(struct caller *caller))
{
    caller->api = api;
    caller->on_known = on_known;
    caller->id = slots_put(api->callers, caller);
    return caller->id ? 0 : -1;
}

void caller_hush(struct caller *caller)
{
    wheel_clear(&caller->api->wheel, &caller->answers);
}

void caller_fini(struct caller *caller)
{
    caller_hush(caller);
    slots_remove(caller->api->callers, caller->id);
    while (caller->owed.count > 0)
        caller_drop_front(caller);
    pending_fini(&caller->owed);
}

void caller_drop_front(struct caller *caller)
{
    caller->api->context_bytes -= pending_front(&caller->owed)->reserved;
    pending_drop_front(&caller->owed);
}

/* ---- replies ---- */

static void on_answers_due(struct timeout *timeout);

static void watch_answers(struct caller *caller, uint64_t ms)
{
    if (!timeout_is_set(&caller->answers))
        wheel_set(&caller->api->wheel, &caller->answers, ms, on_answers_due);
}

static void give_up(struct reply *reply)
{
    if (reply->kind == PENDING_PUBLISHED)
        reply->failed += reply->outstanding;
    else
        reply_fail(reply, reply->code, "the worker does not answer");
    reply->outstanding = 0;
}

/* Replies are due in the order in which they were added. */
static void give_up_due(struct caller *caller, uint64_t now)
{
    struct reply *reply;
    for (uint64_t n = caller->owed.first; (reply = pending_find(&caller->owed, n)); n++) {
        if (reply->outstanding == 0)
            continue;
        if (reply->due_ms > now) {
            watch_answers(caller, reply->due_ms - now);
            break;
        }
        give_up(reply);
    }
    caller->on_known(caller);
}

static void on_answers_due(struct timeout *timeout)
{
    struct caller *caller = container_of(timeout, struct caller, answers);
    give_up_due(caller, uv_now(&caller->api->loop));
}

void caller_give_up(struct caller *caller)
{
    give_up_due(caller, UINT64_MAX);
}

static void settle(struct reply *reply, struct command *command)
{
    reply->outstanding--;
    reply->delivered += command->delivered;
    reply->failed += command->failed;
    reply->data = command->result;
    command->result = NULL;
    if (reply->kind == PENDING_PUBLISHED || command->status == COMMAND_DONE)
        return;
    bool unknown = command->status == COMMAND_NO_CLIENT || !command->why;
    reply_fail(reply, reply->code, unknown ? "no such client" : command->why);
}

void callers_on_outcome(struct api *api, struct command *command)
{
    api->in_flight--;
    struct caller *caller = slots_get(api->callers, command->tag);
    struct reply *reply = caller ? pending_find(&caller->owed, command->since) : NULL;
    if (reply && reply->outstanding > 0) {
        settle(reply, command);
        if (reply->outstanding == 0 && reply == pending_front(&caller->owed))
            caller->on_known(caller);
    }
    command_free(command);
}

/* ---- requests ---- */

struct reply *caller_owe(struct caller *caller, struct request *request, size_t size,
                         uint64_t *number)
{
    struct reply *reply = pending_add(&caller->owed, size, number);
    reply->spelling = request->spelling;
    reply->id = request->id;
    request->id = NULL;
    return reply;
}

/* Every worker has its part in the answer. */
static bool goes_to_all(enum command_kind kind)
{
    return kind == COMMAND_PUBLISH || kind == COMMAND_COUNT;
}

/* How many outcomes will come; -1 when no worker can own the client. */
static int post(struct caller *caller, struct command *command)
{
    struct mesh *mesh = caller->api->mesh;
    if (caller->api->stop_asked) { /* the workers have ended, and their clients */
        bool all = goes_to_all(command->kind);
        command_free(command);
        return all ? 0 : -1;
    }
    if (goes_to_all(command->kind)) {
        int posted = mesh_publish(mesh, -1, command);
        command_free(command);
        return posted;
    }
    if (command->client != 0 && mesh_submit(mesh, command) == 0)
        return 1;
    command_free(command);
    return -1;
}

static void do_command(struct caller *caller, struct request *request, size_t size, size_t answer)
{
    struct api *api = caller->api;
    struct command *command = request->command;
    request->command = NULL;
    enum command_kind kind = command->kind;
    struct reply *reply = caller_owe(caller, request, size + answer, &command->since);
    reply->reserved = answer;
    api->context_bytes += answer;
    command->tag = caller->id;
    command->reply_to = &api->box;
    reply->kind = goes_to_all(kind) ? PENDING_PUBLISHED : PENDING_SUCCESS;
    reply->code = kind == COMMAND_SEND ? ENVELOPE_NOT_DELIVERED : ENVELOPE_CALL_FAILED;
    reply->due_ms = uv_now(&api->loop) + api->answer_ms;
    int posted = post(caller, command);
    if (posted < 0) {
        reply_fail(reply, reply->code, "no such client");
        return;
    }
    reply->outstanding = (uint32_t)posted;
    api->in_flight += reply->outstanding;
    if (posted > 0)
        watch_answers(caller, api->answer_ms);
}

/* An answer that may be large counts before it comes. */
static size_t size_of_answer(const struct caller *caller, struct request *request)
{
    if (request->kind != REQUEST_COMMAND || request->command->kind != COMMAND_GET_CONTEXT)
        return 0;
    if (caller->owed.size + COMMAND_RESULT_MAX <= CALLER_OWED_MAX &&
        caller->api->context_bytes + COMMAND_RESULT_MAX <= CALLER_CONTEXTS_MAX)
        return COMMAND_RESULT_MAX;
    request->kind = REQUEST_BAD;
    request->code = ENVELOPE_CALL_FAILED;
    strcpy(request->why, "too many contexts at once");
    return 0;
}

void caller_take(struct caller *caller, struct request *request, size_t size)
{
    uint64_t number;
    size_t answer = size_of_answer(caller, request);
    if (request->kind == REQUEST_COMMAND) {
        do_command(caller, request, size, answer);
        return;
    }
    struct reply *reply = caller_owe(caller, request, size, &number);
    if (request->kind == REQUEST_BAD)
        reply_fail(reply, request->code, request->why);
    else
        reply->kind = request->kind == REQUEST_PING ? PENDING_PONG : PENDING_SERVER_PONG;
}
