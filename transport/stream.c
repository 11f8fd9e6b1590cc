#include "transport/stream.h"

#include <string.h>

#include "proto/frame.h"

/* Reads get a buffer up to this size; only frames that are longer themselves get more. */
#define READ_BYTES_MAX 65536u

/* So many reads in a row that filled less than a quarter of the buffer halve it. */
#define SMALL_READS_MAX 4

bool stream_env_init(struct stream_env *env)
{
    *env = (struct stream_env){0};
    buffers_init(&env->pool);
    return inbox_init(&env->inbox);
}

void stream_env_fini(struct stream_env *env)
{
    ASSERT(env->queued_bytes == 0);
    inbox_fini(&env->inbox);
    buffers_fini(&env->pool);
}

/* NNG's threads: these two. */
static void on_rx(void *arg)
{
    struct stream *s = arg;
    inbox_post(&s->env->inbox, &s->rx_node, false);
}

static void on_tx(void *arg)
{
    struct stream *s = arg;
    /* If all of it left, the loop has nothing to do unless it said so. */
    bool whole = nng_aio_result(s->tx) == 0 &&
                 nng_aio_count(s->tx) == s->flight_to - s->flight_from;
    inbox_post(&s->env->inbox, &s->tx_node, whole);
}

/* What is taken back from NNG's TLS breaks the stream below it, and may never end. */
static bool is_tls(nng_stream *nng)
{
    bool verified = false;
    return nng_stream_get_bool(nng, NNG_OPT_TLS_VERIFIED, &verified) !=
           NNG_ENOTSUP;
}

static void free_now(struct stream *s)
{
    if (s->tx_now != NULL) {
        nng_aio_free(s->tx_now);
    }
}

bool stream_init(struct stream *s, struct stream_env *env, nng_stream *nng,
                 const struct stream_options *o)
{
    ASSERT(o->body_max > 0);
    ASSERT(o->body_max <= FRAME_PEER_BYTES_MAX);
    *s = (struct stream){
        .env = env,
        .nng = nng,
        .body_max = o->body_max,
        .queue_max = o->queue_max,
        .user = o->user,
    };
    inbox_node_init(&s->rx_node, INBOX_STREAM_RX, s);
    inbox_node_init(&s->tx_node, INBOX_STREAM_TX, s);
    if (nng_aio_alloc(&s->rx, on_rx, s) != 0) {
        goto no_rx;
    }
    if (nng_aio_alloc(&s->tx, on_tx, s) != 0) {
        goto no_tx;
    }
    if (!is_tls(nng) && nng_aio_alloc(&s->tx_now, NULL, NULL) != 0) {
        goto no_tx_now;
    }
    if (buffers_take(&env->pool, BUFFERS_BYTES_MIN, &s->in)) {
        return true;
    }
    free_now(s);
no_tx_now:
    nng_aio_free(s->tx);
no_tx:
    nng_aio_free(s->rx);
no_rx:
    nng_stream_close(nng);
    nng_stream_free(nng);
    *s = (struct stream){0};
    return false;
}

/* --- in ----------------------------------------------------------------------------------------------------------- */

static struct bytes received(const struct stream *s)
{
    ASSERT(s->in_from <= s->in_to);
    ASSERT(s->in_to <= s->in.cap);
    return (struct bytes){s->in.data + s->in_from, s->in_to - s->in_from};
}

enum stream_result stream_next(struct stream *s, struct bytes *out_body)
{
    if (s->closed) {
        return STREAM_END;
    }
    /* While a receive runs, the buffer is NNG's behind in_to, and what's before it has been looked at. */
    if (s->rx_busy) {
        return STREAM_MORE;
    }
    size_t consumed = 0;
    switch (frame_next(received(s), s->body_max, out_body, &consumed)) {
    case FRAME_OK:
        s->in_from += consumed;
        s->env->frames_in++;
        return STREAM_FRAME;
    case FRAME_MORE:
        return s->broken ? STREAM_END : STREAM_MORE;
    case FRAME_TOO_LONG:
        return STREAM_TOO_LONG;
    case FRAME_EMPTY:
        return STREAM_EMPTY;
    }
    return STREAM_END;
}

bool stream_has_part(const struct stream *s)
{
    return s->in_to > s->in_from;
}

/* How big the buffer should be for the next read, with `part` bytes of a frame in it already. */
static size_t wanted_bytes(struct stream *s, struct bytes part)
{
    if (part.n >= FRAME_HEAD_BYTES) {
        size_t frame_n =
            FRAME_HEAD_BYTES +
            ((size_t)part.data[0] << 24 | (size_t)part.data[1] << 16 |
             (size_t)part.data[2] << 8 | (size_t)part.data[3]);
        /* A long frame gets its room as it arrives: a head alone is cheap to send. */
        size_t room = 2 * part.n > READ_BYTES_MAX ? 2 * part.n : READ_BYTES_MAX;
        size_t want = frame_n < room ? frame_n : room;
        if (want > s->in.cap) {
            return want;
        }
    }
    if (s->read_full && s->in.cap < READ_BYTES_MAX) {
        return s->in.cap * 2;
    }
    if (part.n == 0 && s->in.cap > READ_BYTES_MAX) {
        return READ_BYTES_MAX;
    }
    if (part.n == 0 && s->small_reads >= SMALL_READS_MAX &&
        s->in.cap > BUFFERS_BYTES_MIN) {
        return s->in.cap / 2;
    }
    return s->in.cap;
}

/* Room behind what is there already. False: no memory. */
static bool make_room(struct stream *s)
{
    struct bytes part = received(s);
    size_t want = wanted_bytes(s, part);
    if (want < s->in.cap) {
        ASSERT(part.n == 0);
        struct buffer smaller;
        if (buffers_take(&s->env->pool, want, &smaller)) {
            buffers_give(&s->env->pool, &s->in);
            s->in = smaller;
        }
        s->small_reads = 0;
    } else if (!buffers_grow(&s->env->pool, &s->in, want, part)) {
        return false;
    }
    s->in_from = 0;
    s->in_to = part.n;
    ASSERT(s->in_to < s->in.cap);
    return true;
}

void stream_read(struct stream *s)
{
    if (s->rx_busy || s->broken || s->closed) {
        return;
    }
    if (!make_room(s)) {
        s->broken = true;
        s->error = NNG_ENOMEM;
        return;
    }
    nng_iov v = {s->in.data + s->in_to, s->in.cap - s->in_to};
    int failed = nng_aio_set_iov(s->rx, 1, &v);
    ASSERT(failed == 0);
    s->rx_busy = true;
    nng_stream_recv(s->nng, s->rx);
}

void stream_discard(struct stream *s)
{
    if (s->rx_busy) {
        return;
    }
    s->in_from = 0;
    s->in_to = 0;
    stream_read(s);
}

void stream_took_rx(struct stream *s)
{
    ASSERT(s->rx_busy);
    s->rx_busy = false;
    int rv = nng_aio_result(s->rx);
    if (rv != 0) {
        s->broken = true;
        s->error = rv;
        return;
    }
    size_t n = nng_aio_count(s->rx);
    size_t room = s->in.cap - s->in_to;
    ASSERT(n <= room);
    s->in_to += n;
    s->env->bytes_in += n;
    s->read_full = n == room;
    if (n > s->in.cap / 4) {
        s->small_reads = 0;
    } else if (s->small_reads < SMALL_READS_MAX) {
        s->small_reads++;
    }
}

/* --- out ---------------------------------------------------------------------------------------------------------- */

uint64_t stream_queued(const struct stream *s)
{
    return s->fill_n + (s->flight_to - s->flight_from);
}

uint64_t stream_room(const struct stream *s)
{
    uint64_t queued = stream_queued(s);
    if (s->broken || s->closed || queued >= s->queue_max) {
        return 0;
    }
    return s->queue_max - queued;
}

bool stream_send(struct stream *s, struct bytes body)
{
    ASSERT(body.n > 0);
    ASSERT(body.n <= FRAME_PEER_BYTES_MAX);
    if (s->broken || s->closed) {
        return false;
    }
    size_t n = FRAME_HEAD_BYTES + body.n;
    uint64_t queued = stream_queued(s);
    if (queued > 0 && queued + n > s->queue_max) {
        return false;
    }
    if (s->fill.cap - s->fill_n < n) {
        struct bytes filled = {s->fill.data, s->fill_n};
        if (!buffers_grow(&s->env->pool, &s->fill, s->fill_n + n, filled)) {
            return false;
        }
    }
    frame_head(s->fill.data + s->fill_n, body.n);
    memcpy(s->fill.data + s->fill_n + FRAME_HEAD_BYTES, body.data, body.n);
    s->fill_n += n;
    s->env->queued_bytes += n;
    s->env->frames_out++;
    return true;
}

static void flight_on(struct stream *s, nng_aio *aio)
{
    ASSERT(s->flight_from < s->flight_to);
    nng_iov v = {s->flight.data + s->flight_from,
                 s->flight_to - s->flight_from};
    int failed = nng_aio_set_iov(aio, 1, &v);
    ASSERT(failed == 0);
    nng_stream_send(s->nng, aio);
}

/* n bytes of the flight left. True: all of it. */
static bool flight_left(struct stream *s, size_t n)
{
    ASSERT(n <= s->flight_to - s->flight_from);
    s->flight_from += n;
    s->env->queued_bytes -= n;
    s->env->bytes_out += n;
    s->wrote = s->wrote || n > 0;
    return s->flight_from == s->flight_to;
}

static void flight_end(struct stream *s)
{
    s->flight_from = 0;
    s->flight_to = 0;
    buffers_give(&s->env->pool, &s->flight);
}

/* NNG tries to write at once, in our thread; only what can't leave then waits for its poller. So nearly every write ends here, and
 * costs no other thread's turn: an operation without a callback is done as soon as nothing of it waits, and one that would wait is
 * taken back. An error is left for the next try to find, which has a callback. */
static bool write_now(struct stream *s)
{
    flight_on(s, s->tx_now);
    nng_aio_cancel(s->tx_now);
    nng_aio_wait(s->tx_now);
    return nng_aio_result(s->tx_now) == 0 &&
           flight_left(s, nng_aio_count(s->tx_now));
}

static void write_flight(struct stream *s)
{
    s->tx_busy = true;
    if (s->watched) {
        inbox_want(&s->env->inbox, &s->tx_node);
    }
    flight_on(s, s->tx);
}

void stream_flush(struct stream *s)
{
    if (s->fill_n == 0 || s->broken || s->closed) {
        return;
    }
    if (s->tx_busy) {
        inbox_want(&s->env->inbox, &s->tx_node);
        return;
    }
    ASSERT(s->flight.data == NULL);
    s->flight = s->fill;
    s->flight_from = 0;
    s->flight_to = s->fill_n;
    s->fill = (struct buffer){0};
    s->fill_n = 0;
    /* Who watches hears of the end from the inbox, as of any other. */
    if (s->tx_now != NULL && !s->watched && write_now(s)) {
        flight_end(s);
        return;
    }
    write_flight(s);
}

void stream_watch(struct stream *s, bool on)
{
    s->watched = on;
    if (on && s->tx_busy) {
        inbox_want(&s->env->inbox, &s->tx_node);
    }
}

void stream_took_tx(struct stream *s)
{
    ASSERT(s->tx_busy);
    s->tx_busy = false;
    int rv = nng_aio_result(s->tx);
    if (rv != 0) {
        s->broken = true;
        s->error = rv;
        return;
    }
    bool whole = flight_left(s, nng_aio_count(s->tx));
    if (s->closed) {
        return;
    }
    /* A send may complete with less than it was given. */
    if (!whole) {
        write_flight(s);
        return;
    }
    flight_end(s);
    stream_flush(s);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

void stream_close(struct stream *s)
{
    if (s->closed) {
        return;
    }
    s->closed = true;
    if (s->tx_busy) {
        inbox_want(&s->env->inbox, &s->tx_node);
    }
    nng_stream_close(s->nng);
}

bool stream_is_idle(const struct stream *s)
{
    return !s->rx_busy && !s->tx_busy;
}

void stream_fini(struct stream *s)
{
    ASSERT(s->closed);
    ASSERT(stream_is_idle(s));
    /* The callbacks posted; stop waits until they returned as well. */
    nng_aio_stop(s->rx);
    nng_aio_stop(s->tx);
    nng_stream_free(s->nng);
    nng_aio_free(s->rx);
    nng_aio_free(s->tx);
    free_now(s);
    s->env->queued_bytes -= stream_queued(s);
    buffers_give(&s->env->pool, &s->in);
    buffers_give(&s->env->pool, &s->fill);
    buffers_give(&s->env->pool, &s->flight);
    *s = (struct stream){0};
}
