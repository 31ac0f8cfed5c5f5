#include "proto/forwarded.h"
#include "base/address.h"
#include <string.h>
#include <strings.h>

static const char name[] = "X-Forwarded-For";

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Cuts the last element off the list; false when the list has none left. */
static bool pop_element(struct slice *list, struct slice *element)
{
    if (!list->data)
        return false;
    const char *comma = memrchr(list->data, ',', list->len);
    const char *start = comma ? comma + 1 : list->data, *end = list->data + list->len;
    while (start < end && is_blank(*start))
        start++;
    while (end > start && is_blank(end[-1]))
        end--;
    *element = (struct slice){start, (size_t)(end - start)};
    *list = comma ? (struct slice){list->data, (size_t)(comma - list->data)} : (struct slice){0};
    return true;
}

/* The elements of all such headers, from the last one. */
struct walk {
    const struct handshake *h;
    size_t header; /* those before it are still to come */
    struct slice list;
};

static bool next_element(struct walk *walk, struct slice *element)
{
    while (!pop_element(&walk->list, element)) {
        if (walk->header == 0)
            return false;
        const struct handshake_header *header = &walk->h->headers[--walk->header];
        if (header->name.len == sizeof name - 1 &&
            strncasecmp(header->name.data, name, sizeof name - 1) == 0)
            walk->list = header->value;
    }
    return true;
}

bool forwarded_client(const struct handshake *h, char *const *trusted,
                      struct sockaddr_storage *peer)
{
    struct walk walk = {.h = h, .header = h->header_count};
    struct sockaddr_storage address;
    struct slice element;
    int hops = 0;
    while (hops < FORWARDED_HOPS_MAX && address_in(peer, trusted) &&
           next_element(&walk, &element) &&
           address_from_text(&address, element.data, element.len)) {
        *peer = address;
        hops++;
    }
    return hops > 0;
}
