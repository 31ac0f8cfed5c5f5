#include "login.h"
#include "log.h"
#include "mem.h"
#include "password.h"
#include "reply.h"
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUEUE_MAX = 10000,         /* logins that are not answered */
    QUEUE_OF_CLIENT_MAX = 100, /* those of one client */
    REMEMBERED_MAX = 100000,   /* clients that are logged in */
    RETRY_MS = 1000,
    GIVE_UP_MS = 30000
};

static const char WRONG[] = "Invalid name or password";
static const char LATER[] = "Try again later";
static const char BUSY[] = "Too busy, try again";

struct request {
    int64_t uid; /* the event's */
    char *name, *password;
    const char *refusal; /* instead of both */
    STAILQ_ENTRY(request) entry;
};

enum state {
    RESTING,   /* no login on its way: on the list of the remembered */
    CHECKING,  /* a thread looks the user up */
    MARKING,   /* the flag is being written */
    ANSWERING, /* the engine has the answer and has not confirmed it */
    UNSURE     /* it may not have it: on the list of the unsure */
};

TAILQ_HEAD(sessions, session);

/* What is known of one client. */
struct session {
    struct pool_job job;
    struct login *login;
    uint64_t client;
    struct mix_node *node;
    enum state state;
    bool closed;      /* goes when what is under way is back */
    bool unsent;      /* the reply was not sent behind the uid */
    int64_t uid;      /* that of the last answer */
    int64_t found;    /* the user whose password was right */
    uint64_t give_up; /* when, in the loop's time; 0: not unsure since the answer was given */
    char *text;       /* of the reply */
    struct request *request;
    STAILQ_HEAD(, request) waiting;
    TAILQ_ENTRY(session) entry;
    struct sessions *list; /* on which it is, or NULL */
    enum users_status status;
    bool right;
    char error[sizeof(((struct users *)0)->error)];
};

struct login {
    uv_loop_t *loop;
    uv_timer_t retry;
    struct pool *pool;
    struct online *online;
    void *clients; /* sessions by client */
    struct sessions remembered, unsure;
    size_t remembered_count;
    size_t queued;    /* requests */
    size_t unsettled; /* sessions that do not rest */
    bool hurried;
};

static int compare(const void *a, const void *b)
{
    uint64_t left = ((const struct session *)a)->client,
             right = ((const struct session *)b)->client;
    return left < right ? -1 : left > right;
}

static struct session *find(const struct login *login, uint64_t client)
{
    struct session key = {.client = client};
    struct session **found = tfind(&key, &login->clients, compare);
    return found ? *found : NULL;
}

/* ---- requests ---- */

static void free_request(struct request *request)
{
    if (!request)
        return;
    mem_wipe(request->name);
    mem_wipe(request->password);
    free(request);
}

static struct request *take_request(struct session *session)
{
    struct request *request = STAILQ_FIRST(&session->waiting);
    if (request)
        STAILQ_REMOVE_HEAD(&session->waiting, entry);
    return request;
}

static void drop_request(struct session *session)
{
    if (session->request)
        session->login->queued--;
    free_request(session->request);
    session->request = NULL;
}

static void drop_waiting(struct session *session)
{
    for (struct request *request; (request = take_request(session));) {
        session->login->queued--;
        free_request(request);
    }
}

/* ---- sessions: one function changes the state, and with it the list ---- */

static void move(struct session *session, struct sessions *to)
{
    struct login *login = session->login;
    if (session->list)
        TAILQ_REMOVE(session->list, session, entry);
    if (to)
        TAILQ_INSERT_TAIL(to, session, entry);
    login->remembered_count += (to == &login->remembered) - (session->list == &login->remembered);
    session->list = to;
}

static void set_state(struct session *session, enum state state)
{
    struct login *login = session->login;
    struct sessions *list = state == RESTING  ? &login->remembered
                            : state == UNSURE ? &login->unsure
                                              : NULL;
    move(session, list);
    login->unsettled += (state != RESTING) - (session->state != RESTING);
    session->state = state;
}

static void free_session(struct session *session)
{
    drop_request(session);
    drop_waiting(session);
    mix_node_unref(session->node);
    free(session->text);
    free(session);
}

static void forget(struct session *session)
{
    set_state(session, RESTING);
    move(session, NULL);
    tdelete(session, &session->login->clients, compare);
    free_session(session);
}

static void next(struct session *session);

/* Nothing is under way any more. */
static void settle(struct session *session)
{
    struct login *login = session->login;
    if (!STAILQ_EMPTY(&session->waiting)) {
        next(session);
        return;
    }
    set_state(session, RESTING);
    if (!session->uid)
        forget(session);
    else if (login->remembered_count > REMEMBERED_MAX)
        forget(TAILQ_FIRST(&login->remembered));
}

/* ---- the answer ---- */

static void deliver(struct session *session);

static void on_retry(uv_timer_t *timer)
{
    struct login *login = timer->data;
    struct session *last = TAILQ_LAST(&login->unsure, sessions);
    for (bool was_last = !last; !was_last;) {
        struct session *session = TAILQ_FIRST(&login->unsure);
        was_last = session == last;
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): forget unlinks what it frees */
        deliver(session); /* puts it behind `last`, or takes it away */
    }
    if (TAILQ_EMPTY(&login->unsure))
        uv_timer_stop(timer);
}

/* Nobody is there to be told, or nobody answers: down is the side on which a flag errs. */
static void give_up(struct session *session)
{
    if (session->uid)
        online_set(session->login->online, session->uid, false);
    session->uid = 0;
    settle(session);
}

/* It is not known whether the client has its answer. Without it the client's script waits for ever,
 * so it is given once more; setting a uid twice does no harm, and a reply that comes twice does
 * less than none. An engine that was started anew refuses, as it does not know the client. */
static void doubt(struct session *session)
{
    struct login *login = session->login;
    uint64_t now = uv_now(login->loop);
    if (!session->give_up)
        session->give_up = now + GIVE_UP_MS;
    if (now >= session->give_up || login->hurried) {
        log_line("%s: an answer to a login was not confirmed", mix_node_address(session->node));
        give_up(session);
        return;
    }
    set_state(session, UNSURE);
    if (!uv_is_active((uv_handle_t *)&login->retry))
        uv_timer_start(&login->retry, on_retry, RETRY_MS, RETRY_MS);
}

static void on_confirmed(struct mix_node *node, const struct mix_reply *reply, void *data)
{
    (void)node;
    struct session *session = data;
    if (session->closed)
        forget(session);
    else if (reply->status == 0 && !session->unsent)
        settle(session);
    else if (reply->status == -EREMOTEIO)
        give_up(session);
    else
        doubt(session);
}

static void deliver(struct session *session)
{
    struct mix_node *node = session->node;
    int failed = mix_node_set_context_value(node, session->client, "uid",
                                            json_integer(session->uid), on_confirmed, session);
    if (failed) {
        doubt(session);
        return;
    }
    set_state(session, ANSWERING);
    session->unsent =
        mix_node_send(node, session->client, session->text, strlen(session->text), NULL, NULL) != 0;
}

static void take_down(struct session *session, int64_t user, int64_t but)
{
    if (user && user != but)
        online_set(session->login->online, user, false);
}

/* Whoever the client was is no longer online by it. Takes the text. */
static void answer(struct session *session, int64_t uid, char *text)
{
    take_down(session, session->uid, uid);
    take_down(session, session->request->uid, uid);
    drop_request(session);
    free(session->text);
    session->text = text;
    session->uid = uid;
    session->give_up = 0;
    deliver(session);
}

static void fail(struct session *session, const char *error)
{
    answer(session, 0, reply_error("auth", error));
}

/* ---- the database ---- */

static void on_marked(void *data, bool written)
{
    struct session *session = data;
    if (session->closed) {
        forget(session);
    } else if (written) {
        answer(session, session->found, reply_success("auth"));
    } else {
        online_set(session->login->online, session->found, false);
        fail(session, LATER);
    }
}

static void check(struct pool_job *job, struct users *users)
{
    struct session *session = (struct session *)job;
    struct user user = {0};
    session->status = users_find(users, session->request->name, &user);
    if (session->status == USERS_OK || session->status == USERS_NONE) {
        const char *stored = session->status == USERS_OK ? user.password : NULL;
        session->right = password_verify(stored, session->request->password);
    } else {
        snprintf(session->error, sizeof session->error, "%s", users_error(users));
    }
    session->found = user.id;
    explicit_bzero(&user, sizeof user);
}

/* A user's id is never 0: that is the "uid" of those who are nobody. */
static void on_known(struct session *session)
{
    if (!session->right || !session->found) {
        fail(session, WRONG);
        return;
    }
    set_state(session, MARKING);
    online_set_and_tell(session->login->online, session->found, true, on_marked, session);
}

static void on_checked(struct pool_job *job)
{
    struct session *session = (struct session *)job;
    if (session->closed) {
        forget(session);
    } else if (!job->ran) {
        fail(session, LATER);
    } else if (session->status == USERS_OK || session->status == USERS_NONE) {
        on_known(session);
    } else {
        log_line("the database: %s", session->error);
        fail(session, LATER);
    }
}

static void next(struct session *session)
{
    set_state(session, CHECKING);
    session->request = take_request(session);
    if (session->request->refusal) {
        fail(session, session->request->refusal);
        return;
    }
    session->right = false;
    pool_submit(session->login->pool, &session->job);
    if (session->login->hurried)
        atomic_store(&session->job.unwanted, true);
}

/* ---- what chat.c calls ---- */

static struct session *add(struct login *login, uint64_t client)
{
    struct session *session = mem_new(sizeof *session);
    session->job.run = check;
    session->job.done = on_checked;
    session->login = login;
    session->client = client;
    STAILQ_INIT(&session->waiting);
    mem_given(tsearch(session, &login->clients, compare));
    return session;
}

static void change_node(struct session *session, struct mix_node *node)
{
    if (session->node == node)
        return;
    if (session->node)
        mix_node_unref(session->node);
    session->node = mix_node_ref(node);
}

static void enter(struct session *session, struct request *request)
{
    session->login->queued++;
    STAILQ_INSERT_TAIL(&session->waiting, request, entry);
    if (session->state == RESTING)
        next(session);
}

static size_t waiting_of(const struct session *session)
{
    size_t count = 0;
    const struct request *request = STAILQ_FIRST(&session->waiting);
    for (; request; request = STAILQ_NEXT(request, entry))
        count++;
    return count;
}

/* Takes the request. Beyond the bounds it is refused instead: in its turn, so that its answer does
 * not overtake that of a login before it; only a client that goes on without waiting for any answer
 * is told out of turn, and keeps the uid that the one before gives it. */
static void enqueue(struct login *login, struct mix_node *node, uint64_t client,
                    struct request *request)
{
    struct session *session = find(login, client);
    if (!session)
        session = add(login, client);
    if (session->closed) {
        free_request(request);
        return;
    }
    change_node(session, node);
    if (login->queued >= QUEUE_MAX)
        request->refusal = BUSY;
    if (waiting_of(session) < QUEUE_OF_CLIENT_MAX) {
        enter(session, request);
        return;
    }
    char *text = reply_error("auth", BUSY);
    if (mix_node_send(node, client, text, strlen(text), NULL, NULL) != 0)
        log_line("%s: a login could not be answered", mix_node_address(node));
    free(text);
    free_request(request);
}

void login_begin(struct login *login, struct mix_node *node, uint64_t client, int64_t uid,
                 const char *name, const char *password)
{
    struct request *request = mem_new(sizeof *request);
    request->uid = uid;
    request->name = mem_copy(name);
    request->password = mem_copy(password);
    enqueue(login, node, client, request);
}

void login_refuse(struct login *login, struct mix_node *node, uint64_t client, int64_t uid,
                  const char *error)
{
    struct request *request = mem_new(sizeof *request);
    request->uid = uid;
    request->refusal = error;
    enqueue(login, node, client, request);
}

void login_closed(struct login *login, uint64_t client, int64_t uid)
{
    struct session *session = find(login, client);
    if (uid)
        online_set(login->online, uid, false);
    if (!session || session->closed)
        return;
    take_down(session, session->uid, uid);
    if (session->state == MARKING)
        take_down(session, session->found, uid);
    drop_waiting(session);
    if (session->state == RESTING || session->state == UNSURE) {
        forget(session);
        return;
    }
    session->closed = true;
    atomic_store(&session->job.unwanted, true);
}

void login_reconnected(struct login *login, struct mix_node *node)
{
    struct session *session = TAILQ_FIRST(&login->unsure);
    for (; session; session = TAILQ_NEXT(session, entry)) {
        if (strcmp(mix_node_id(session->node), mix_node_id(node)) == 0)
            change_node(session, node);
    }
}

bool login_is_stranger(const struct login *login, uint64_t client)
{
    return !find(login, client);
}

size_t login_unsettled(const struct login *login)
{
    return login->unsettled;
}

static void hurry(const void *node, VISIT visit, int depth)
{
    (void)depth;
    struct session *session = *(struct session *const *)node;
    if (visit == postorder || visit == leaf)
        atomic_store(&session->job.unwanted, true);
}

void login_hurry(struct login *login)
{
    login->hurried = true;
    twalk(login->clients, hurry);
    on_retry(&login->retry);
}

struct login *login_open(uv_loop_t *loop, struct pool *pool, struct online *online)
{
    struct login *login = mem_new(sizeof *login);
    login->loop = loop;
    login->pool = pool;
    login->online = online;
    TAILQ_INIT(&login->remembered);
    TAILQ_INIT(&login->unsure);
    uv_timer_init(loop, &login->retry);
    login->retry.data = login;
    return login;
}

static void free_found(void *session)
{
    free_session(session);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct login *login = handle->data;
    tdestroy(login->clients, free_found);
    free(login);
}

void login_close(struct login *login)
{
    uv_close((uv_handle_t *)&login->retry, on_timer_closed);
}
