/* Any value of an Authorization header: only the credentials of a user open, and nothing that is no
 * credentials is ever waited for. */
#include "api/access.h"
#include "base/check.h"
#include "exact.h"
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_checked(void *data)
{
    (void)data;
}

static struct access *start(void)
{
    static uv_loop_t loop;
    static struct config_user users[] = {
        {.username = "reader", .password = "rw", .host = "127.*", .read = true},
        {.username = "writer", .password = "a:bcd", .host = "", .read = true, .write = true}};
    static struct config config = {.users = users, .user_count = 2};
    CHECK(uv_loop_init(&loop) == 0);
    struct access *access = access_new(&loop, on_checked, NULL);
    access_configure(access, &config);
    return access;
}

/* Of these lengths one text alone stands for the bytes. */
static bool is(const char *value, const char *token)
{
    return strncasecmp(value, "Basic ", 6) == 0 &&
           strcmp(value + 6 + strspn(value + 6, " "), token) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct access *access;
    static struct exact exact;
    if (!access)
        access = start();
    const char *value = exact_string(&exact, data, size);
    bool reader = is(value, "cmVhZGVyOnJ3"), writer = is(value, "d3JpdGVyOmE6YmNk");
    CHECK(!access_must_wait(access, value, "127.0.0.1"));
    CHECK((access_check(access, value, "127.0.0.1", ACCESS_READ) == 0) == (reader || writer));
    CHECK((access_check(access, value, "127.0.0.1", ACCESS_WRITE) == 0) == writer);
    CHECK((access_check(access, value, "192.0.2.1", ACCESS_READ) == 0) == writer);
    return 0;
}
