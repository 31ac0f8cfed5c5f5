/* The packet loop: bytes of a client through read buffer, protocol_input, protocol_decode and
 * on_message of a script that does everything right and wrong a script can do (packet.lua). The
 * input is cut into pieces by its own bytes. Whatever happened, nothing is left when the client has
 * gone, and each on_connect had its on_close.
 *
 * A second target is made of this (PACKET_PROTOCOL), where the engine itself speaks WebSocket and
 * the script sees messages (websocket.lua). There an input that is no request comes after one. */
#include "base/check.h"
#include "base/log.h"
#include "mesh/mesh_local.h"
#include "net/tally.h"
#include "queue/gate.h"
#include "script/lua_modules.h"
#include "script/session.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* The state lives to the end of the process, and LuaJIT tags pointers so that they do not look like
 * any. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libluajit";
}

static struct {
    uv_loop_t loop;
    struct wheel wheel;
    struct conns conns;
    struct mailbox box, api_box;
    struct mailbox *boxes[1];
    struct tally *tallies[1];
    struct worker_stats stats;
    struct server_stats server_stats;
    struct pulse pulse;
    struct script_env env;
    struct config_server server;
    struct config config;
    struct vm *vm;
} w;

static void on_message(struct msg *msg, void *data)
{
    (void)data;
    if (msg->type == MSG_PUSH_ANSWER)
        lua_queue_answer(&w.env, container_of(msg, struct push_answer, msg));
    else if (msg->type == MSG_OUTCOME)
        lua_mesh_outcome(&w.env, container_of(msg, struct command, msg));
    else
        CHECK(!"a message that a single worker does not get");
}

/* A queue whose consumer takes all there is whenever it is looked at. */
static void on_entry(struct msg *msg, void *data)
{
    (void)data;
    if (msg->type != MSG_ENTRY) {
        free(msg);
        return;
    }
    struct entry *entry = container_of(msg, struct entry, msg);
    if (entry->waiting) {
        entry->answer->granted = entry->len % 2;
        if (entry->answer->granted)
            entry->answer->depth = gate_pass(entry->gate);
        else
            gate_give_up(entry->gate);
        entry->answer->msg.type = MSG_PUSH_ANSWER;
        mailbox_post(entry->reply_to, &entry->answer->msg);
    } else {
        gate_leave(entry->gate);
    }
    free(entry);
}

static void on_gone(struct script_env *env, int server)
{
    (void)env;
    (void)server;
}

static void on_source(struct script_env *env, int server, const struct source *source)
{
    (void)env;
    (void)server;
    (void)source;
}

static void start(void)
{
    char error[512];
    signal(SIGPIPE, SIG_IGN);
    CHECK(log_start(&(struct log_options){.filename = "/dev/null", .level = LOG_LEVEL_ERROR}) == 0);
    CHECK(uv_loop_init(&w.loop) == 0);
    wheel_init(&w.wheel, &w.loop);
    conns_init(&w.conns, &w.loop, &w.wheel);
    mailbox_open(&w.box, &w.loop, on_message, NULL);
    mailbox_open(&w.api_box, &w.loop, on_entry, NULL);
    w.boxes[0] = &w.box;
    w.tallies[0] = tally_new(0);
    w.server_stats.send_duration = summary_new(1000, 1);
    w.env = (struct script_env){.node = 1,
                                .loop = &w.loop,
                                .wheel = &w.wheel,
                                .conns = &w.conns,
                                .channels = channels_new(),
                                .sessions = slots_new(0),
                                .box = &w.box,
                                .api_box = &w.api_box,
                                .mesh = mesh_local_new(1, w.boxes, 1),
                                .gates = gates_new(10, 10),
                                .tallies = w.tallies,
                                .pulse = &w.pulse,
                                .stats = &w.stats,
                                .servers = &w.server_stats,
                                .on_gone = on_gone,
                                .on_source = on_source};
    list_init(&w.env.all);
    list_init(&w.env.ready);
    list_init(&w.env.ready_timers);
    static char *none[] = {NULL};
    w.server = (struct config_server){.entry = (char *)PACKET_SCRIPT,
                                      .protocol = PACKET_PROTOCOL,
                                      .origins = none,
                                      .trusted_proxies = none,
                                      .limits.exempt = none,
                                      .compression = {.on = true, .context_takeover = true},
                                      .max_message_size = 1000,
                                      .max_backlog = 100000,
                                      .read_ahead = 100,
                                      .max_context = 1000,
                                      .max_subscriptions = 10,
                                      .max_channel_length = 50,
                                      .shared_encode = true};
    w.config = (struct config){.refs = 1, .servers = &w.server, .server_count = 1};
    w.vm = vm_new(&w.env, &w.config, 0);
    if (vm_prepare(w.vm, true, error, sizeof error) != 0)
        check_failed(__FILE__, __LINE__, error);
    vm_commit(w.vm);
}

static void turn(void)
{
    for (bool left = true; left;) {
        uv_run(&w.loop, UV_RUN_NOWAIT);
        conns_read_on(&w.conns);
        left = script_env_turn(&w.env, 100);
        left |= conns_flush(&w.conns, 100);
        left |= conns_flush_fan_out(&w.conns, 100);
    }
}

static void let_go(void)
{
    struct buf packed = {0};
    strings_add(&packed, "go", 2);
    strings_add(&packed, "1", 1);
    struct blob *pairs = blob_new(packed.data, packed.len);
    list_for_each(node, &w.env.all)
        session_set_context(list_entry(node, struct session, in_all), pairs);
    blob_unref(pairs);
    buf_free(&packed);
}

static void feed(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        size_t piece = 1 + data[0] % 40;
        piece = piece < size ? piece : size;
        if (send(fd, data, piece, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
        turn();
        data += piece;
        size -= piece;
    }
}

static const char upgrade[] = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
                              "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                              "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

static void speak(int fd, const uint8_t *data, size_t size)
{
    if (PACKET_PROTOCOL == CONFIG_PROTOCOL_WEBSOCKET && (size == 0 || data[0] != 'G'))
        feed(fd, (const uint8_t *)upgrade, sizeof upgrade - 1);
    feed(fd, data, size);
}

static long global(const char *name)
{
    lua_getglobal(w.vm->L, name);
    long value = (long)lua_tointeger(w.vm->L, -1);
    lua_pop(w.vm->L, 1);
    return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!w.vm)
        start();
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    struct msg_accepted accepted = {.fd = pair[0], .peer.ss_family = AF_INET};
    CHECK(session_open(w.vm, &accepted));
    speak(pair[1], data, size);
    if (size % 2)
        let_go();
    turn();
    shutdown(pair[1], SHUT_WR);
    turn();
    let_go();
    close(pair[1]);
    for (size_t i = 0; i < 100 + 10 * size && !list_empty(&w.env.all); i++)
        turn();
    CHECK(list_empty(&w.env.all));
    CHECK(counter_get(&w.stats.connections) == 0 && counter_get(&w.stats.contexts) == 0);
    CHECK(counter_get(&w.stats.subscriptions) == 0 && counter_get(&w.stats.tasks_suspended) == 0);
    CHECK(slots_count(w.env.sessions) == 0 && w.conns.open == 0);
    CHECK(global("opened") == global("closed"));
    return 0;
}
