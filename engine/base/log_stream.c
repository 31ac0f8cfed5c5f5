#include "base/log_stream.h"
#include "base/clock.h"
#include "base/log_record.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

/* What poll(2) calls writable takes PIPE_BUF bytes without blocking. */
static ssize_t write_some(struct log_stream *stream, const char *data, size_t len,
                          uint64_t until_ms)
{
    struct pollfd ready = {.fd = stream->fd, .events = POLLOUT};
    uint64_t now = clock_ms();
    int rc = poll(&ready, 1, stream->stalled || now >= until_ms ? 0 : (int)(until_ms - now));
    if (rc == 0)
        errno = ETIMEDOUT;
    if (rc <= 0)
        return rc < 0 && errno == EINTR ? 0 : -1;
    ssize_t n = write(stream->fd, data, len < PIPE_BUF ? len : PIPE_BUF);
    return n < 0 && errno == EINTR ? 0 : n;
}

static size_t write_all(struct log_stream *stream, const char *data, size_t len)
{
    size_t done = 0;
    uint64_t until_ms = clock_ms() + LOG_STREAM_WAIT_MS;
    while (done < len) {
        ssize_t n = write_some(stream, data + done, len - done, until_ms);
        if (n < 0) {
            stream->stalled = true;
            stream->error = errno;
            break;
        }
        done += (size_t)n;
        stream->stalled &= n == 0;
    }
    return done;
}

/* How many of the records are not among the first `done` bytes. */
static size_t count_rest(const char *data, size_t len, size_t done)
{
    size_t count = 0;
    for (size_t n, at = 0; at < len; at += n) {
        n = log_record_len(data + at, len - at);
        count += at + n > done;
    }
    return count;
}

size_t log_stream_write(struct log_stream *stream, const char *data, size_t len)
{
    if (stream->torn && write_all(stream, "\n", 1) == 0)
        return log_record_count(data, len);
    size_t done = write_all(stream, data, len);
    stream->torn = done > 0 ? data[done - 1] != '\n' : false;
    return done == len ? 0 : count_rest(data, len, done);
}

size_t log_stream_print(struct log_stream *stream, const char *data, size_t len)
{
    size_t done = write_all(stream, data, len);
    if (done > 0)
        stream->torn = data[done - 1] != '\n';
    return len - done;
}
