/* The bounds of all topics, enforced where messages are pushed, without a lock: a gate is one
 * 64-bit atomic of two counts, entries in the topic (pushed by any worker, not yet handed to a
 * consumer) and pushes that wait for room. Entering fails when the topic is full or anyone waits,
 * so that nobody jumps the line. What waits is let in by the api loop alone (topic.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gate;
struct gates;

/* `topic_size`: the bound of topics that nobody gave one; at most `max_topics` topics are made. */
struct gates *gates_new(uint32_t topic_size, uint32_t max_topics);
void gates_free(struct gates *gates);

/* While held, nothing more is to be pushed to any topic. Any thread. */
void gates_hold(struct gates *gates, bool hold);
bool gates_are_held(const struct gates *gates);

/* The gate of a topic, made when there is none yet; NULL when max_topics are there already. Any
 * thread (takes a lock: callers keep what they got, it lives as long as the gates). */
struct gate *gates_get(struct gates *gates, const char *name, size_t len);

/* The same, but NULL when there is none yet. */
struct gate *gates_find(struct gates *gates, const char *name, size_t len);

/* Walks all gates; start with NULL, NULL at the end. Any thread. */
struct gate *gates_next(struct gates *gates, struct gate *after);

const char *gate_name(const struct gate *gate, size_t *len); /* any thread */
uint32_t gate_size(const struct gate *gate);                 /* any thread */
uint32_t gate_count(const struct gate *gate);                /* any thread */
uint32_t gate_waiting(const struct gate *gate);              /* any thread */
uint64_t gate_refused(const struct gate *gate);              /* gate_enter was false; any thread */

/* Any thread. The caller tells the queue afterwards (MSG_RESIZED): it lets in whom there is room
 * for. */
void gate_resize(struct gate *gate, uint32_t size);

/* A worker: true and the count of entries now in the topic, or false and nothing happened. */
bool gate_enter(struct gate *gate, uint32_t *count);

enum gate_result { GATE_ENTERED, GATE_WAITING };

/* A worker: enters, or else is counted as waiting; then its entry must be posted, flagged so. */
enum gate_result gate_enter_or_wait(struct gate *gate, uint32_t *count);

/* The api loop alone, from here on. */
void gate_leave(struct gate *gate);                  /* an entry was handed to a consumer */
bool gate_admit(struct gate *gate, uint32_t *count); /* one who waits enters; false when full */
uint32_t gate_pass(struct gate *gate); /* one who waits is handed over at once; the count */
void gate_give_up(struct gate *gate);  /* one who waits has timed out */
