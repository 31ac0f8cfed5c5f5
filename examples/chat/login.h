/* Logins on their way: from the message, over the database, to the answer that the engine has
 * taken.
 *
 * A login's steps are: the password is checked; the flag `online` is set; the key "uid" is set in
 * the client's context, which wakes the script that waits for it, and the reply follows; the engine
 * confirms. A login that fails sets "uid" to 0. One client's logins go one after another.
 *
 * Who is online. The flag goes up before "uid" is set, so the event of a close, which brings "uid",
 * always comes later. When the engine refuses to set it, the client has gone, and its close brings
 * no "uid": the flag is taken down here. Events of one client bring the "uid" of the moment in
 * which they were pushed, which may be older than a login that was answered since; so the
 * connections that are logged in are remembered here (the latest 100,000), and what is taken down
 * is the flag of both users, the remembered one and the event's.
 *
 * What stays open: a client whose logins as different users were sent without waiting, and were
 * given to different processes since the number of consumers changed just then, may leave a flag
 * up.
 *
 * All functions are called on the loop's thread. */
#pragma once

#include "online.h"
#include "pool.h"
#include <mix_consumer.h>
#include <stddef.h>
#include <stdint.h>

struct login;

struct login *login_open(uv_loop_t *loop, struct pool *pool, struct online *online);

/* A client wants to log in. `uid` is the event's: who it was till now, or 0. The texts are copied.
 */
void login_begin(struct login *login, struct mix_node *node, uint64_t client, int64_t uid,
                 const char *name, const char *password);

/* A login that cannot be right: fails with this text, in its turn. */
void login_refuse(struct login *login, struct mix_node *node, uint64_t client, int64_t uid,
                  const char *error);

/* The client is gone. `uid` is the event's. */
void login_closed(struct login *login, uint64_t client, int64_t uid);

/* The node is connected again: answers that it has not confirmed go to it once more. */
void login_reconnected(struct login *login, struct mix_node *node);

/* Whether nothing is known of the client: it is not logged in, nor on its way. */
bool login_is_stranger(const struct login *login, uint64_t client);

/* Logins without their answer, or whose answer is not confirmed. */
size_t login_unsettled(const struct login *login);

/* Answers those that wait for the database with "Try again later", and tries nothing once more. */
void login_hurry(struct login *login);

/* Frees everything, once the consumer and the pool are closed. */
void login_close(struct login *login);
