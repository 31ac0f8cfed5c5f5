#include "reload.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

enum {
    DEV_LOOK_MS = 250,
    SETTLE_MS = 100, /* editors write several times, and people save several files */
    ANSWER_MS = 5000,
    STARVED_MS = 1000,
    RETRIES_MAX = 20, /* of scripts whose files change while they are read */
};

/* The scripts of one server. */
struct script {
    struct reload *r;
    char *entry;
    int server;
    uint64_t look_ms; /* 0: never */
    uv_timer_t timer; /* the next look, or the end of an attempt's time */
    struct sources sources;
    uint64_t known; /* digest of the sources as of the last attempt; 0: try again */
    uint64_t seen;  /* that of the last look */
    /* the attempt */
    bool active;
    bool moved;       /* files were changed while they were read */
    unsigned retries; /* on that account */
    uint32_t number;
    int missing; /* workers that have not answered it */
    int owed;    /* answers to earlier ones, too: a worker never has two to do */
    uint64_t since;
    struct sources read;
    char *error;
    bool again; /* one more, when this one is over */
    bool late;  /* the last one was given up or put off, and that was said */
};

struct reload {
    struct reload_options options;
    struct reload_stats stats;
    struct script *scripts;
    size_t count;
    bool stopped;
};

const struct reload_stats *reload_stats(const struct reload *r)
{
    return &r->stats;
}

static void begin(struct script *s);

static void post(struct script *s, int type)
{
    const struct reload_options *o = &s->r->options;
    for (int i = 0; i < o->worker_count; i++) {
        struct msg_reload *m = xmalloc(sizeof *m);
        *m = (struct msg_reload){.msg.type = type, .server = s->server, .number = s->number};
        mailbox_post(o->workers[i], &m->msg);
    }
}

/* -- looking -- */

static void on_look(uv_timer_t *timer);

static void look_after(struct script *s, uint64_t ms)
{
    if (ms)
        CHECK(uv_timer_start(&s->timer, on_look, ms, 0) == 0);
    else
        uv_timer_stop(&s->timer);
}

/* What has changed is loaded when a second look finds nothing new. */
static void on_look(uv_timer_t *timer)
{
    struct script *s = timer->data;
    uint64_t now = sources_digest_now(&s->sources);
    if (now == s->known) {
        look_after(s, s->look_ms);
    } else if (now == s->seen) {
        begin(s);
    } else {
        s->seen = now;
        look_after(s, SETTLE_MS);
    }
}

/* -- an attempt -- */

static void end(struct script *s)
{
    s->active = false;
    free(s->error);
    s->error = NULL;
    sources_free(&s->read);
    look_after(s, s->look_ms);
    if (s->again && s->owed == 0)
        begin(s);
}

static void abort_attempt(struct script *s)
{
    post(s, MSG_ABORT);
    end(s);
}

static void say_failure(struct script *s, const char *why)
{
    counter_add(&s->r->stats.failed, 1);
    log_error("reload", "%s is not loaded again, the scripts in use go on: %s", s->entry, why);
}

static void on_late(uv_timer_t *timer)
{
    struct script *s = timer->data;
    if (!s->late)
        say_failure(s, "not every worker has answered within 5 s, as a script is busy; it is tried "
                       "again when all have");
    s->late = true;
    s->known = 0;
    s->again = true;
    abort_attempt(s);
}

static void begin(struct script *s)
{
    s->again = s->owed > 0;
    if (s->again) {
        look_after(s, 0); /* until those answers have come */
        return;
    }
    s->active = true;
    s->moved = false;
    s->number++;
    s->missing = s->owed = s->r->options.worker_count;
    s->since = clock_ms();
    post(s, MSG_PREPARE);
    CHECK(uv_timer_start(&s->timer, on_late, ANSWER_MS, 0) == 0);
}

static void watch(struct script *s, struct sources *sources)
{
    sources_free(&s->sources);
    s->sources = *sources;
    *sources = (struct sources){0};
}

static void commit(struct script *s)
{
    post(s, MSG_COMMIT);
    counter_add(&s->r->stats.done, 1);
    log_info("reload", "reloaded %s in %llu ms", s->entry,
             (unsigned long long)(clock_ms() - s->since));
    s->late = false;
    s->retries = 0;
    s->known = sources_digest(&s->read);
    watch(s, &s->read);
    end(s);
}

/* Until one of the files changes, of those that are in use or of those that were tried. */
static void fail(struct script *s)
{
    say_failure(s, s->error);
    s->late = false;
    s->retries = 0;
    for (uint32_t i = 0; i < s->sources.count; i++)
        sources_watch(&s->read, s->sources.items[i].path);
    s->known = sources_digest(&s->read);
    watch(s, &s->read);
    abort_attempt(s);
}

/* There were no descriptors to read the files with: nothing is known of them, so there is another
 * look, also where there are none else. */
static void put_off(struct script *s)
{
    if (!s->late)
        say_failure(s, s->error ? s->error : "a file could not be opened");
    s->late = true;
    s->known = 0;
    s->retries = 0;
    abort_attempt(s);
    if (!s->active)
        look_after(s, s->look_ms ? s->look_ms : STARVED_MS);
}

/* Files were saved while the workers read them: whatever came of it is not what is there now. */
static void retry(struct script *s)
{
    s->known = 0;
    abort_attempt(s);
    if (!s->active)
        look_after(s, SETTLE_MS);
}

/* A script that writes its own files when it is loaded. */
static void give_up(struct script *s)
{
    free(s->error);
    s->error = xstrdup("its files change each time they are read");
    fail(s);
    s->known = sources_digest_now(&s->sources);
}

static void decide(struct script *s)
{
    s->moved |= sources_digest(&s->read) != sources_digest_now(&s->read);
    /* First, as workers that could not read seem to disagree with those that could. */
    if (s->read.starved)
        put_off(s);
    else if (s->moved && ++s->retries == RETRIES_MAX)
        give_up(s);
    else if (s->moved)
        retry(s);
    else if (s->error)
        fail(s);
    else
        commit(s);
}

static void take_error(struct script *s, const struct msg_prepared *answer)
{
    if (!s->error && answer->error)
        s->error = xasprintf("worker %d: %s", answer->worker, answer->error);
}

static void take_answer(struct script *s, const struct msg_prepared *answer)
{
    s->owed--;
    if (s->active && answer->number == s->number) {
        take_error(s, answer);
        if (!sources_merge(&s->read, &answer->sources))
            s->moved = true;
        if (--s->missing == 0)
            decide(s);
    } else if (s->again && s->owed == 0) {
        begin(s);
    }
}

static void free_message(struct msg_prepared *m)
{
    sources_free(&m->sources);
    free(m->error);
    free(m);
}

void reload_prepared(struct reload *r, struct msg_prepared *answer)
{
    if (!r->stopped)
        take_answer(&r->scripts[answer->server], answer);
    free_message(answer);
}

void reload_required(struct reload *r, struct msg_prepared *file)
{
    struct script *s = &r->scripts[file->server];
    bool unchanged = s->known == sources_digest(&s->sources);
    bool same = sources_merge(&s->sources, &file->sources);
    s->known = same && unchanged ? sources_digest(&s->sources) : 0;
    free_message(file);
}

void reload_all(struct reload *r)
{
    for (size_t i = 0; i < r->count; i++) {
        struct script *s = &r->scripts[i];
        s->late = false;
        if (s->active)
            s->again = true;
        else
            begin(s);
    }
}

/* -- life -- */

static void init(struct script *s, struct reload *r, const struct config_server *server, bool dev)
{
    s->r = r;
    s->server = (int)(s - r->scripts);
    s->entry = xstrdup(server->entry);
    s->look_ms = dev ? DEV_LOOK_MS : (uint64_t)server->byte_code_expires * 1000;
    s->timer.data = s;
    CHECK(uv_timer_init(r->options.loop, &s->timer) == 0);
}

struct reload *reload_new(const struct config *config, const struct reload_options *options)
{
    struct reload *r = xcalloc(1, sizeof *r);
    r->options = *options;
    r->count = config->server_count;
    r->scripts = xcalloc(r->count + 1, sizeof *r->scripts);
    for (size_t i = 0; i < r->count; i++)
        init(&r->scripts[i], r, &config->servers[i], options->dev);
    return r;
}

void reload_watch(struct reload *r, int server, const struct sources *sources)
{
    struct script *s = &r->scripts[server];
    if (!sources_merge(&s->sources, sources))
        s->moved = true;
}

static void start(struct script *s)
{
    s->known = s->moved ? 0 : sources_digest(&s->sources);
    look_after(s, s->look_ms);
}

void reload_start(struct reload *r)
{
    for (size_t i = 0; i < r->count; i++)
        start(&r->scripts[i]);
}

void reload_stop(struct reload *r)
{
    for (size_t i = 0; i < r->count && !r->stopped; i++) {
        struct script *s = &r->scripts[i];
        uv_timer_stop(&s->timer);
        if (s->active)
            post(s, MSG_ABORT);
    }
    r->stopped = true;
}

void reload_close(struct reload *r)
{
    r->stopped = true;
    for (size_t i = 0; i < r->count; i++)
        uv_close((uv_handle_t *)&r->scripts[i].timer, NULL);
}

static void fini(struct script *s)
{
    sources_free(&s->sources);
    sources_free(&s->read);
    free(s->error);
    free(s->entry);
}

void reload_free(struct reload *r)
{
    for (size_t i = 0; i < r->count; i++)
        fini(&r->scripts[i]);
    free(r->scripts);
    free(r);
}
