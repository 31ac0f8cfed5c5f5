#include "config/config_value.h"

#include "base/address.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* The digits at the start; returns what follows them, NULL when there are none or too many. */
static const char *digits(const char *text, uint64_t *out)
{
    uint64_t value = 0;
    const char *at = text;
    for (; isdigit((unsigned char)*at); at++) {
        unsigned digit = (unsigned)(*at - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return NULL;
        value = value * 10 + digit;
    }
    if (at == text || (*text == '0' && at != text + 1))
        return NULL;
    *out = value;
    return at;
}

bool config_value_number(const char *text, uint64_t *out)
{
    uint64_t value;
    const char *rest = digits(text, &value);
    if (!rest || *rest)
        return false;
    *out = value;
    return true;
}

/* `units` ends with a NULL name. */
static bool number_with_unit(const char *text, const struct unit *units, uint64_t *out)
{
    uint64_t value;
    const char *rest = digits(text, &value);
    if (!rest)
        return false;
    rest += strspn(rest, " ");
    while (units->name && strcasecmp(units->name, rest) != 0)
        units++;
    if (!units->name || value > UINT64_MAX / units->factor)
        return false;
    *out = value * units->factor;
    return true;
}

bool config_value_size(const char *text, uint64_t *out)
{
    static const struct unit units[] = {
        {"", 1},          {"b", 1},        {"k", 1 << 10},   {"kb", 1 << 10},
        {"kib", 1 << 10}, {"m", 1 << 20},  {"mb", 1 << 20},  {"mib", 1 << 20},
        {"g", 1 << 30},   {"gb", 1 << 30}, {"gib", 1 << 30}, {NULL, 0},
    };
    return number_with_unit(text, units, out);
}

bool config_value_seconds(const char *text, uint64_t *out)
{
    static const struct unit units[] = {
        {"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {NULL, 0},
    };
    uint64_t ms;
    if (!number_with_unit(text, units, &ms) || ms % 1000 != 0)
        return false;
    *out = ms / 1000;
    return true;
}

bool config_value_is_ip(const char *text)
{
    struct in6_addr address;
    return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

bool config_value_is_bind(const char *text)
{
    struct sockaddr_storage address;
    const char *path = address_path(text);
    return path ? *path != '\0' : address_from_ip(&address, text, 0);
}

bool config_value_is_network(const char *text)
{
    return address_is_network(text);
}

static bool is_bracketed_ipv6(const char *text, size_t len)
{
    char inner[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (len < 2 || len - 2 >= sizeof inner || text[0] != '[' || text[len - 1] != ']')
        return false;
    memcpy(inner, text + 1, len - 2);
    inner[len - 2] = '\0';
    return inet_pton(AF_INET6, inner, &address) == 1;
}

static bool is_host_name(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr("-._", text[i]))
            return false;
    return len > 0;
}

bool config_value_is_address(const char *text)
{
    uint64_t port;
    const char *colon = strrchr(text, ':');
    if (!colon || !config_value_number(colon + 1, &port) || port < 1 || port > 65535)
        return false;
    size_t len = (size_t)(colon - text);
    return is_host_name(text, len) || is_bracketed_ipv6(text, len);
}

bool config_value_is_address_or_empty(const char *text)
{
    return !*text || config_value_is_address(text);
}

bool config_value_is_host_pattern(const char *text)
{
    return strcmp(text, "unix") == 0 ||
           (*text && text[strspn(text, "0123456789abcdefABCDEF.:*")] == '\0');
}

bool config_value_is_username(const char *text)
{
    return *text && !strchr(text, ':');
}

bool config_value_is_account(const char *text)
{
    const char *colon = strchr(text, ':');
    if (text[strcspn(text, " \t\n")] != '\0')
        return false;
    return !colon || (colon > text && colon[1] && !strchr(colon + 1, ':'));
}

bool config_value_is_not_empty(const char *text)
{
    return *text != '\0';
}
