/* What may stand in the configuration file, as tables: every key with its names, type, range,
 * default and place in the struct. */
#pragma once

#include "config/config.h"

enum config_kind {
    CONFIG_NUMBER,
    CONFIG_SECONDS,
    CONFIG_SIZE,
    CONFIG_CHOICE,  /* one of `choices` */
    CONFIG_TEXT,    /* char *, never NULL */
    CONFIG_TEXTS,   /* a list: char **, NULL-terminated */
    CONFIG_FLAGS,   /* a list of `choices`, each sets the bool at `offset` + its value */
    CONFIG_SECTION, /* a mapping; its keys' offsets are from the same base */
    CONFIG_LIST, /* of mappings: an array of `section->size` each, and a size_t at count_offset */
    CONFIG_IGNORED, /* anything */
};

struct config_choice {
    const char *name;
    uint64_t value;
    bool silent; /* accepted, but not told among what is allowed */
};

struct config_section {
    const struct config_key *keys;
    size_t count;
    size_t size; /* of a list's item */
};

struct config_key {
    const char *name;
    const char *old[2]; /* other names, but for case and underscores, which never matter */
    enum config_kind kind;
    size_t offset, width; /* of the field; width 0: nothing is stored */
    uint64_t min, max;    /* of numbers, seconds and sizes */
    uint64_t number;      /* the default of these and of choices; of a list: how many items */
    const char *text;     /* the default of a text */
    bool (*valid)(const char *text);        /* NULL: any text */
    const char *(*fault)(const char *text); /* of a secret, in place of `valid`: NULL, or what is
                                               wrong, which is told in place of the text */
    const char *allowed;                    /* says what `valid` or `fault` takes */
    const struct config_choice *choices;    /* ends with a NULL name */
    const struct config_section *section;   /* of a section and of a list's items */
    size_t count_offset;
    bool has_switch; /* a section: its first key is a bool, for which a single value stands, and
                        which a mapping sets if it does not name it */
    bool has_line;   /* a list: each item's line goes to line_offset */
    size_t line_offset;
    bool one_is_list;   /* a list: one mapping stands for a list of one */
    bool unique;        /* a text: no two items of the list may have the same */
    bool required;      /* an item must have it */
    bool secret;        /* a wrong value may hold a password: reports do not quote it */
    bool live;          /* a change takes effect without a restart */
    const char *unused; /* a value other than the default is warned of: why */
};

enum { CONFIG_SECTION_KEYS_MAX = 32 };

/* In place of a default until the whole file is read: half of readTimeout. */
#define CONFIG_PING_INTERVAL_AUTO UINT32_MAX

/* What is being read: older keys have no field of their own in the configuration. */
struct config_draft {
    struct config config;
    char *api_username, *api_password;
};

/* Of struct config_draft. */
extern const struct config_section config_root;

/* Is this a spelling of the key's name, or of an older one? */
bool config_key_is(const struct config_key *key, const char *name);

/* Fills zeroed memory with the defaults; frees what the fields own. */
void config_section_init(const struct config_section *section, void *base);
void config_section_fini(const struct config_section *section, void *base);

/* Frees the texts of a list. */
void config_texts_free(const struct config_key *key, void *base);

/* Makes a list of `count` items, each with the defaults, and frees the one that was there. */
void config_list_make(const struct config_key *key, void *base, size_t count);

/* The fields of a key, whose base is that of its section. */
char **config_text_field(const struct config_key *key, void *base);
char ***config_texts_field(const struct config_key *key, void *base);
void *config_list_item(const struct config_key *key, const void *base, size_t index);
size_t config_list_count(const struct config_key *key, const void *base);
void config_store(const struct config_key *key, void *base, uint64_t value);
