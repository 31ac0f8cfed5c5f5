/* Any bytes as the body of an HTTP request to the API: refused with a reason and no call, or each
 * command in it is given once, and is one that HTTP can carry. Input: byte 0 chooses the method,
 * 0: a batch; then the body. */
#include "api/request.h"
#include "base/check.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const methods[] = {NULL,           "conn.call",   "conn.close",    "mesh.send",
                                      "mesh.publish", "server.ping", "queue.consume", "other"};

static void on_request(struct request *request, void *data)
{
    unsigned *calls = data;
    ++*calls;
    CHECK(request->spelling == ENVELOPE_HTTP);
    CHECK((request->kind == REQUEST_BAD) == (request->why[0] != '\0'));
    CHECK(strlen(request->why) < REQUEST_WHY_MAX);
    CHECK(request->kind == REQUEST_BAD || request->kind == REQUEST_SERVER_PING ||
          request->kind == REQUEST_COMMAND);
    if (request->kind != REQUEST_COMMAND)
        return;
    CHECK(request->command->data && request->command->client <= INT64_MAX);
    CHECK((request->command->kind == COMMAND_PUBLISH) == (request->command->name != NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[REQUEST_WHY_MAX] = "";
    unsigned calls = 0;
    if (size == 0)
        return 0;
    const char *method = methods[data[0] % (sizeof methods / sizeof *methods)];
    int status =
        request_parse_body(method, (const char *)data + 1, size - 1, on_request, &calls, why);
    CHECK(status == 0 || status == 400 || status == 413);
    CHECK((status == 0) == (why[0] == '\0'));
    CHECK(method ? calls == (status == 0) : calls <= REQUEST_BATCH_MAX);
    CHECK(status == 0 || calls == 0);
    return 0;
}
