/* What is written is read by the server's decoder (proto/ws.h), and what its encoder writes is read
 * here: the two halves hold each other to account. */
#include "frame.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void fails(const char *data, size_t len, const char *why)
{
    struct frame_reader reader = {0};
    struct frame_item item;
    size_t used = 0, at = 0;
    enum frame_event event;
    do {
        event = frame_read(&reader, data + at, len - at, &used, &item);
        at += used;
    } while (event != FRAME_BAD && event != FRAME_MORE);
    assert_int_equal(event, FRAME_BAD);
    assert_string_equal(item.why, why);
    frame_reader_free(&reader);
}

#define FAILS(bytes, why) fails(bytes, sizeof(bytes) - 1, why)

static void test_what_a_server_must_not_send(void **state)
{
    (void)state;
    FAILS("\x81\x80", "server frame is masked");
    FAILS("\xc1\x00", "reserved bits set");
    FAILS("\x91\x00", "reserved bits set");
    FAILS("\x83\x00", "reserved opcode");
    FAILS("\x8b\x00", "reserved opcode");
    FAILS("\x81\x7e\x00\x7d", "length is not in its shortest form");
    FAILS("\x81\x7f\x00\x00\x00\x00\x00\x00\xff\xff", "length is not in its shortest form");
    FAILS("\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00", "frame above 64 MiB");
    FAILS("\x09\x00", "fragmented control frame");
    FAILS("\x89\x7e", "control frame too long");
    FAILS("\x88\x01x", "close frame of one byte");
    FAILS("\x80\x00", "continuation of nothing");
    FAILS("\x01\x01x\x81\x01y", "new message inside an unfinished one");
    FAILS("\x01\x01x\x80\x01y\x80\x00", "continuation of nothing");
}

static void reads_whole(enum ws_opcode opcode, size_t len, enum frame_event want)
{
    struct frame_reader reader = {0};
    struct frame_item item;
    struct buf bytes = {0};
    size_t used;
    char *data = calloc(1, len + 1);
    memset(data, 'a', len);
    ws_encode(&bytes, opcode, data, len);
    size_t header = bytes.len - len;
    for (size_t cut = 0; cut < bytes.len; cut += cut < header + 2 ? 1 : 1000)
        assert_int_equal(frame_read(&reader, bytes.data, cut, &used, &item), FRAME_MORE);
    assert_int_equal(frame_read(&reader, bytes.data, bytes.len, &used, &item), want);
    assert_int_equal(used, bytes.len);
    assert_int_equal(item.len, len);
    assert_memory_equal(item.data, data, len);
    frame_reader_free(&reader);
    buf_free(&bytes);
    free(data);
}

static void test_frames_of_all_lengths(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 125, 126, 127, 65535, 65536, 200000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        reads_whole(WS_OP_TEXT, lengths[i], FRAME_MESSAGE);
    reads_whole(WS_OP_BINARY, 5, FRAME_MESSAGE);
    reads_whole(WS_OP_PING, 5, FRAME_PING);
    reads_whole(WS_OP_PONG, 125, FRAME_PONG);
    reads_whole(WS_OP_CLOSE, 2, FRAME_CLOSE);
}

static void test_pieces_are_joined_around_control_frames(void **state)
{
    (void)state;
    static const char bytes[] = "\x01\x02"
                                "ab"
                                "\x89\x01p"
                                "\x00\x00"
                                "\x80\x01"
                                "c"
                                "\x82\x01z";
    static const enum frame_event want[] = {FRAME_NEXT, FRAME_PING, FRAME_NEXT, FRAME_MESSAGE,
                                            FRAME_MESSAGE};
    static const char *const data[] = {NULL, "p", NULL, "abc", "z"};
    struct frame_reader reader = {0};
    struct frame_item item;
    size_t at = 0, used;
    for (size_t i = 0; i < 5; i++, at += used) {
        assert_int_equal(frame_read(&reader, bytes + at, sizeof bytes - 1 - at, &used, &item),
                         want[i]);
        if (data[i]) {
            assert_int_equal(item.len, strlen(data[i]));
            assert_memory_equal(item.data, data[i], item.len);
        }
    }
    assert_int_equal(at, sizeof bytes - 1);
    frame_reader_free(&reader);
}

static void test_what_is_written_a_server_reads(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 7, 8, 9, 64, 125, 126, 65535, 65536};
    char *data = malloc(65536);
    for (size_t i = 0; i < 65536; i++)
        data[i] = (char)('a' + i % 26);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct buf bytes = {0}, scratch = {0};
        struct ws_decoder decoder;
        struct ws_item item;
        size_t eaten;
        ws_decoder_init(&decoder, 1 << 20);
        frame_write(&bytes, WS_OP_TEXT, data, lengths[i], 0x8badf00du);
        assert_int_equal(ws_decode(&decoder, &scratch, bytes.data, bytes.len, &eaten, &item),
                         WS_MESSAGE);
        assert_int_equal(eaten, bytes.len);
        assert_int_equal(item.len, lengths[i]);
        assert_memory_equal(item.data, data, item.len);
        ws_decoder_fini(&decoder);
        buf_free(&bytes);
        buf_free(&scratch);
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_server_must_not_send),
        cmocka_unit_test(test_frames_of_all_lengths),
        cmocka_unit_test(test_pieces_are_joined_around_control_frames),
        cmocka_unit_test(test_what_is_written_a_server_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
