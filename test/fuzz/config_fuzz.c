/* Any bytes as a configuration: reported or taken, never a crash, and never both or neither. */
#include "base/check.h"
#include "config/config.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_report(bool is_error, const char *text, void *data)
{
    unsigned *errors = data;
    *errors += is_error;
    CHECK(!strchr(text, '\n'));
    CHECK(strncmp(text, "conf/fuzz.yaml:", 15) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned errors = 0;
    struct config *config =
        config_parse("conf/fuzz.yaml", (const char *)data, size, on_report, &errors);
    CHECK((config == NULL) == (errors > 0));
    if (config)
        config_unref(config);
    return 0;
}
