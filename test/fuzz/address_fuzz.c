/* Any text as an address, a network, what a listener binds to: what is taken is told as text that
 * is the same address. */
#include "base/address.h"

#include "base/check.h"
#include "exact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_taken(const struct sockaddr_storage *address)
{
    char text[ADDRESS_TEXT], host[ADDRESS_HOST];
    struct sockaddr_storage again, unpacked;
    struct address_packed packed;
    address_text(address, text);
    address_host(address, host);
    CHECK(strlen(text) < ADDRESS_TEXT && strlen(host) < ADDRESS_HOST);
    CHECK(address_from_text(&again, text, strlen(text)));
    CHECK(address_same_host(address, &again) && address_port(address) == address_port(&again));
    address_pack(&packed, address);
    address_unpack(&unpacked, &packed);
    CHECK(address_same_host(address, &unpacked));
    CHECK(address_port(address) == address_port(&unpacked));
}

static void check_text(const char *text, size_t len)
{
    struct sockaddr_storage address;
    if (address_from_text(&address, text, len))
        check_taken(&address);
}

static void check_string(char *text)
{
    struct sockaddr_storage address, any;
    char *const networks[] = {text, NULL};
    bool is_ip = address_from_ip(&address, text, 80);
    if (is_ip)
        check_taken(&address);
    if (address_from_bind(&address, text, 80))
        CHECK(address_len(&address) <= sizeof address && (is_ip || address_path(text)));
    if (!address_is_network(text))
        return;
    CHECK(address_from_ip(&any, "192.0.2.1", 1));
    address_in(&any, networks);
    CHECK(address_from_ip(&any, "2001:db8::1", 1));
    address_in(&any, networks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct exact exact, string;
    check_text(exact_copy(&exact, data, size), size);
    check_string(exact_string(&string, data, size));
    return 0;
}
