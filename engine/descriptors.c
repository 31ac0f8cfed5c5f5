#include "descriptors.h"
#include "base/check.h"
#include <sys/resource.h>

enum {
    SPARE = 64,    /* logs, files, requests of scripts */
    OF_WORKER = 8, /* each one's loop, and some for look-ups */
    API_MIN = 64,
    API_MAX = 4096,
    API_PART = 32, /* of all are the API's, between these two */
};

unsigned descriptors_raise(void)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    return limit.rlim_cur > 1u << 30 ? 1u << 30 : (unsigned)limit.rlim_cur;
}

unsigned descriptors_of_api(unsigned descriptors)
{
    unsigned share = descriptors / API_PART;
    if (share > API_MAX)
        return API_MAX;
    if (share < API_MIN)
        share = API_MIN;
    return share < descriptors / 4 ? share : descriptors / 4;
}

unsigned descriptors_of_clients(unsigned descriptors, const struct config *config, unsigned workers)
{
    unsigned others = SPARE + OF_WORKER * workers + (unsigned)config->server_count +
                      descriptors_of_api(descriptors);
    for (size_t i = 0; i < config->redis_count; i++)
        others += (unsigned)config->redis[i].pool_size;
    return descriptors > 2 * others ? descriptors - others : descriptors / 2;
}
