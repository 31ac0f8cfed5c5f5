#include "net/tally.h"
#include "base/address.h"
#include "base/bucket.h"
#include "base/check.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/siphash.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

enum {
    NETWORK_BYTES = 8, /* of an IPv6 address */
    SWEEP = 2,         /* idle entries that a connect looks at: more than it can leave behind */
};

static const uint64_t SECOND_NS = 1000000000;

struct entry {
    UT_hash_handle hh;
    struct address_packed network; /* the key: without a port, and what is not counted by is 0 */
    struct list in_idle;           /* it has no connection */
    uint32_t connections;
    struct bucket connects;
};

struct tally {
    int server;
    struct siphash_key key;
    pthread_mutex_t lock;
    struct entry *entries;
    struct list idle; /* the longest idle first */
    uint32_t idle_count;
    bool forgets;       /* no rate holds: nobody becomes idle */
    uint64_t logged_ms; /* 0: never */
    struct tally_counters counters;
};

static struct address_packed network_of(const struct sockaddr_storage *peer)
{
    struct address_packed network;
    address_pack(&network, peer);
    network.port = 0;
    if (network.family == AF_INET6)
        memset(network.ip + NETWORK_BYTES, 0, sizeof network.ip - NETWORK_BYTES);
    return network;
}

static unsigned hash_of(const struct tally *tally, const struct address_packed *network)
{
    return (unsigned)siphash(&tally->key, network, sizeof *network);
}

static struct entry *find(const struct tally *tally, const struct address_packed *network)
{
    struct entry *entry;
    HASH_FIND_BYHASHVALUE(hh, tally->entries, network, sizeof *network, hash_of(tally, network),
                          entry);
    return entry;
}

static struct entry *make(struct tally *tally, const struct address_packed *network)
{
    struct entry *entry = xcalloc(1, sizeof *entry);
    entry->network = *network;
    list_init(&entry->in_idle);
    HASH_ADD_BYHASHVALUE(hh, tally->entries, network, sizeof *network, hash_of(tally, network),
                         entry);
    counter_add(&tally->counters.addresses, 1);
    return entry;
}

static void set_busy(struct tally *tally, struct entry *entry)
{
    tally->idle_count -= !list_empty(&entry->in_idle);
    list_remove(&entry->in_idle);
}

static void forget(struct tally *tally, struct entry *entry)
{
    set_busy(tally, entry);
    HASH_DEL(tally->entries, entry);
    free(entry);
    counter_add(&tally->counters.addresses, -1);
}

static struct entry *oldest_idle(const struct tally *tally)
{
    return list_entry(tally->idle.next, struct entry, in_idle);
}

static void set_idle(struct tally *tally, struct entry *entry)
{
    if (tally->idle_count == TALLY_IDLE_MAX)
        forget(tally, oldest_idle(tally));
    list_push_back(&tally->idle, &entry->in_idle);
    tally->idle_count++;
}

/* Those that are as good as new. */
static void sweep(struct tally *tally, uint64_t now_ns)
{
    for (int i = 0; i < SWEEP && tally->idle_count > 0; i++) {
        struct entry *oldest = oldest_idle(tally);
        if (!bucket_is_full(&oldest->connects, now_ns))
            return;
        forget(tally, oldest);
    }
}

/* Static text of the limit that is reached; NULL: it may come, and is counted. */
static const char *enter(struct tally *tally, const struct config_server *server,
                         const struct address_packed *network, uint64_t now_ns)
{
    const struct rate rate = {server->limits.connects_per_second, server->limits.burst * SECOND_NS};
    uint32_t most = server->limits.connections_per_address;
    sweep(tally, now_ns);
    struct entry *entry = find(tally, network);
    if (!entry)
        entry = make(tally, network);
    if (most && entry->connections >= most) {
        counter_add(&tally->counters.refused[TALLY_CONNECTIONS], 1);
        return "it has as many open as connectionsPerAddress allows";
    }
    if (!bucket_take(&entry->connects, &rate, 1, now_ns)) {
        counter_add(&tally->counters.refused[TALLY_CONNECTS], 1);
        return "it connects more often than connectsPerSecond allows";
    }
    set_busy(tally, entry);
    entry->connections++;
    return NULL;
}

static uint64_t refused_so_far(const struct tally *tally)
{
    uint64_t sum = 0;
    for (int i = 0; i < TALLY_LIMITS; i++)
        sum += counter_get(&tally->counters.refused[i]);
    return sum;
}

static void tell(struct tally *tally, const struct sockaddr_storage *peer, const char *why,
                 uint64_t now_ns)
{
    char host[ADDRESS_HOST];
    if (!log_due(&tally->logged_ms, now_ns / 1000000))
        return;
    address_host(peer, host);
    log_warn("net", "servers[%d] refused a connection from %s: %s (%" PRIu64 " refused so far)",
             tally->server, host, why, refused_so_far(tally));
}

static bool is_limited(const struct config_server *server, const struct sockaddr_storage *peer)
{
    return (server->limits.connects_per_second || server->limits.connections_per_address) &&
           peer->ss_family != AF_UNIX && !address_in(peer, server->limits.exempt) &&
           !address_in(peer, server->trusted_proxies);
}

bool tally_enter(struct tally *tally, const struct config_server *server,
                 const struct sockaddr_storage *peer, uint64_t now_ns, bool *counted)
{
    *counted = false;
    if (!is_limited(server, peer))
        return true;
    struct address_packed network = network_of(peer);
    CHECK(pthread_mutex_lock(&tally->lock) == 0);
    const char *why = enter(tally, server, &network, now_ns);
    if (why)
        tell(tally, peer, why, now_ns);
    CHECK(pthread_mutex_unlock(&tally->lock) == 0);
    *counted = !why;
    return !why;
}

void tally_leave(struct tally *tally, const struct sockaddr_storage *peer, uint64_t now_ns)
{
    struct address_packed network = network_of(peer);
    CHECK(pthread_mutex_lock(&tally->lock) == 0);
    struct entry *entry = find(tally, &network);
    CHECK(entry && entry->connections > 0);
    if (--entry->connections > 0)
        ;
    else if (tally->forgets || bucket_is_full(&entry->connects, now_ns))
        forget(tally, entry);
    else
        set_idle(tally, entry);
    CHECK(pthread_mutex_unlock(&tally->lock) == 0);
}

void tally_configure(struct tally *tally, const struct config_server *server)
{
    CHECK(pthread_mutex_lock(&tally->lock) == 0);
    tally->forgets = server->limits.connects_per_second == 0;
    while (tally->forgets && tally->idle_count > 0)
        forget(tally, oldest_idle(tally));
    CHECK(pthread_mutex_unlock(&tally->lock) == 0);
}

const struct tally_counters *tally_counters(const struct tally *tally)
{
    return &tally->counters;
}

struct tally *tally_new(int server)
{
    struct tally *tally = xcalloc(1, sizeof *tally);
    tally->server = server;
    tally->key = siphash_key();
    CHECK(pthread_mutex_init(&tally->lock, NULL) == 0);
    list_init(&tally->idle);
    return tally;
}

void tally_free(struct tally *tally)
{
    struct entry *entry, *next;
    HASH_ITER(hh, tally->entries, entry, next)
    {
        forget(tally, entry);
    }
    CHECK(pthread_mutex_destroy(&tally->lock) == 0);
    free(tally);
}
