/* Prints every key that the configuration may hold, one path a line: what test_docs.py holds
 * against the documentation. Lists are marked with []. */
#include "config/config_schema.h"
#include <stdio.h>

static void print_section(const struct config_section *section, const char *prefix)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct config_key *key = &section->keys[i];
        char path[256];
        snprintf(path, sizeof path, "%s%s%s%s", prefix, *prefix ? "." : "", key->name,
                 key->kind == CONFIG_LIST ? "[]" : "");
        if (key->kind == CONFIG_SECTION || key->kind == CONFIG_LIST)
            print_section(key->section, path);
        else
            printf("%s\n", path);
    }
}

int main(void)
{
    print_section(&config_root, "");
    return 0;
}
