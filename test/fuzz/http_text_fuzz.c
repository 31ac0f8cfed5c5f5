/* Any bytes as a Set-Cookie line and as a duration. */
#include "script/http_text.h"

#include "base/check.h"
#include "exact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LONGEST_MS = 24 * 3600 * 1000 };

static void check_cookie(const char *line)
{
    struct http_cookie cookie;
    if (!http_text_cookie(line, &cookie))
        return;
    const char *end = line + strcspn(line, ";");
    CHECK(http_text_is_token(cookie.name, cookie.name_len));
    CHECK(cookie.name >= line && cookie.name + cookie.name_len < cookie.value);
    CHECK(cookie.value + cookie.value_len <= end);
    CHECK(!memchr(cookie.value, ';', cookie.value_len));
}

static void check_duration(const char *text, size_t len)
{
    uint64_t ms, again;
    if (!http_text_duration(text, len, LONGEST_MS, &ms))
        return;
    CHECK(ms <= LONGEST_MS && len >= 2);
    CHECK(http_text_duration(text, len, UINT64_MAX / 2, &again) && again == ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct exact line, text;
    check_cookie(exact_string(&line, data, size));
    check_duration(exact_copy(&text, data, size), size);
    return 0;
}
