/* codec_test.c - proto/codec.h: every message type there and back, and bytes that nobody should have sent. */
#include "proto/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/frame.h"
#include "proto/json.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/fill.h"

#define ROOM (256u << 10)

static _Alignas(ARENA_ALIGN) uint8_t filled_memory[ROOM];
static _Alignas(ARENA_ALIGN) uint8_t decoded_memory[ROOM];
static uint8_t first[ROOM];
static uint8_t second[ROOM];
static char text[2 * ROOM];

struct arenas {
    struct arena filled;
    struct arena decoded;
};

static struct arenas fresh_arenas(void)
{
    struct arenas a;
    arena_init(&a.filled, filled_memory, sizeof filled_memory);
    arena_init(&a.decoded, decoded_memory, sizeof decoded_memory);
    return a;
}

/* splitmix64: seeded, so that a failure comes again. */
static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* The fields of one message against those of another, through the descriptor. */
static void assert_same(const ProtobufCMessage *a, const ProtobufCMessage *b);

static void assert_same_value(const ProtobufCFieldDescriptor *f,
                              const uint8_t *a, const uint8_t *b, size_t i)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        assert_string_equal(((char *const *)a)[i], ((char *const *)b)[i]);
        break;
    case PROTOBUF_C_TYPE_BYTES: {
        ProtobufCBinaryData one = ((const ProtobufCBinaryData *)a)[i];
        ProtobufCBinaryData two = ((const ProtobufCBinaryData *)b)[i];
        assert_int_equal(one.len, two.len);
        assert_memory_equal(one.data, two.data, one.len);
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        assert_same(((ProtobufCMessage *const *)a)[i],
                    ((ProtobufCMessage *const *)b)[i]);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SINT64:
        assert_memory_equal(a + 8 * i, b + 8 * i, 8);
        break;
    default:
        assert_memory_equal(a + 4 * i, b + 4 * i, 4);
        break;
    }
}

static void assert_same(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    assert_ptr_equal(a->descriptor, b->descriptor);
    for (unsigned i = 0; i < a->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &a->descriptor->fields[i];
        const uint8_t *one = (const uint8_t *)a;
        const uint8_t *two = (const uint8_t *)b;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t n = 0;
            memcpy(&n, one + f->quantifier_offset, sizeof n);
            assert_memory_equal(&n, two + f->quantifier_offset, sizeof n);
            const uint8_t *const *ones = (const void *)(one + f->offset);
            const uint8_t *const *twos = (const void *)(two + f->offset);
            for (size_t k = 0; k < n; k++) {
                assert_same_value(f, *ones, *twos, k);
            }
            continue;
        }
        if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
            assert_memory_equal(one + f->quantifier_offset,
                                two + f->quantifier_offset, 4);
            uint32_t set = 0;
            memcpy(&set, one + f->quantifier_offset, sizeof set);
            if (set != f->id) {
                continue;
            }
        }
        assert_same_value(f, one + f->offset, two + f->offset, 0);
    }
}

static void round_trip(const ProtobufCMessageDescriptor *type, uint32_t variant)
{
    struct arenas a = fresh_arenas();
    ProtobufCMessage *m = fill_message(type, variant, &a.filled);
    size_t n = codec_encode(m, first, sizeof first);
    assert_int_equal(n == 0, type->n_fields == 0);
    assert_int_equal(n, codec_size(m));
    ProtobufCMessage *back =
        codec_decode(type, (struct bytes){first, n}, &a.decoded);
    assert_non_null(back);
    assert_int_equal(back->n_unknown_fields, 0);
    assert_same(m, back);
    assert_int_equal(codec_encode(back, second, sizeof second), n);
    assert_memory_equal(first, second, n);
}

static void test_every_type_there_and_back(void **state)
{
    (void)state;
    struct fill_types all = fill_types_all();
    for (size_t i = 0; i < all.n; i++) {
        uint32_t variants = fill_variants(all.types[i]);
        for (uint32_t v = 0; v < variants; v++) {
            round_trip(all.types[i], v);
        }
    }
}

/* The walk reaches what the .proto files declare: else a type would go untested. */
static void test_walk_knows_every_type(void **state)
{
    (void)state;
    static const char *const files[] = {"types", "peer", "command", "client",
                                        "admin"};
    struct fill_types all = fill_types_all();
    size_t declared = 0;
    for (size_t i = 0; i < countof(files); i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "proto/baton/v1/%s.proto", files[i]);
        FILE *file = fopen(path, "r");
        if (file == NULL) {
            fail_msg("%s: run the tests from the root of the tree", path);
        }
        char line[512];
        while (fgets(line, sizeof line, file) != NULL) {
            declared += strncmp(line, "message ", 8) == 0;
        }
        (void)fclose(file);
    }
    assert_int_equal(all.n, declared);
}

static void test_types_nest_no_deeper_than_said(void **state)
{
    (void)state;
    struct fill_types all = fill_types_all();
    unsigned deepest = 0;
    for (size_t i = 0; i < all.n; i++) {
        unsigned n = fill_depth(all.types[i]);
        deepest = n > deepest ? n : deepest;
    }
    assert_in_range(deepest, 2, CODEC_DEPTH_MAX);
}

static void test_no_bytes_are_all_defaults(void **state)
{
    (void)state;
    struct arenas a = fresh_arenas();
    Pb__Command *m = codec_decode_command((struct bytes){0}, &a.decoded);
    assert_non_null(m);
    assert_int_equal(m->op_case, PB__COMMAND__OP__NOT_SET);
    assert_int_equal(codec_size(&m->base), 0);
    assert_int_equal(codec_encode(&m->base, first, sizeof first), 0);
    assert_int_equal(codec_frame(&m->base, first, sizeof first), 0);
    Pb__Path *path = (Pb__Path *)codec_decode(&pb__path__descriptor,
                                              (struct bytes){0}, &a.decoded);
    assert_non_null(path);
    assert_string_equal(path->device, "");
}

static void test_unknown_fields_are_carried(void **state)
{
    (void)state;
    /* Numbers 5000 to 5003: a varint, 8 bytes, 2 bytes with a NUL, 4 bytes. */
    static const uint8_t unknown[] = {
        0xC0, 0xB8, 0x02, 0xAC, 0x02, 0xC9, 0xB8, 0x02, 1,    2, 3, 4, 5, 6, 7,
        8,    0xD2, 0xB8, 2,    2,    'x',  0,    0xDD, 0xB8, 2, 9, 8, 7, 6};
    struct fill_types all = fill_types_all();
    for (size_t i = 0; i < all.n; i++) {
        struct arenas a = fresh_arenas();
        ProtobufCMessage *m = fill_message(all.types[i], 0, &a.filled);
        size_t n = codec_encode(m, first, sizeof first);
        memcpy(first + n, unknown, sizeof unknown);
        n += sizeof unknown;
        ProtobufCMessage *back =
            codec_decode(all.types[i], (struct bytes){first, n}, &a.decoded);
        assert_non_null(back);
        assert_int_equal(back->n_unknown_fields, 4);
        assert_int_equal(codec_encode(back, second, sizeof second), n);
        assert_memory_equal(first, second, n);
    }
}

static void test_encodes_only_what_fits(void **state)
{
    (void)state;
    struct arenas a = fresh_arenas();
    ProtobufCMessage *m =
        fill_message(&pb__event_batch__descriptor, 0, &a.filled);
    size_t n = codec_size(m);
    uint8_t *out = malloc(n + FRAME_HEAD_BYTES);
    assert_non_null(out);
    memset(out, 0x5A, n + FRAME_HEAD_BYTES);
    assert_int_equal(codec_encode(m, out, n - 1), 0);
    assert_int_equal(codec_encode(m, out, 0), 0);
    assert_int_equal(codec_frame(m, out, n + FRAME_HEAD_BYTES - 1), 0);
    assert_int_equal(codec_frame(m, out, 0), 0);
    for (size_t i = 0; i < n + FRAME_HEAD_BYTES; i++) {
        assert_int_equal(out[i], 0x5A);
    }
    assert_int_equal(codec_encode(m, out, n), n);
    assert_int_equal(codec_frame(m, out, n + FRAME_HEAD_BYTES),
                     n + FRAME_HEAD_BYTES);
    struct bytes body = {0};
    size_t consumed = 0;
    assert_int_equal(frame_next((struct bytes){out, n + FRAME_HEAD_BYTES},
                                FRAME_CLIENT_BYTES_MAX, &body, &consumed),
                     FRAME_OK);
    assert_int_equal(body.n, n);
    assert_non_null(codec_decode_event_batch(body, &a.decoded));
    free(out);
}

static void test_arena_caps_what_bytes_can_ask_for(void **state)
{
    (void)state;
    /* 2 bytes each become 40 and more: empty sessions in a page of them. */
    struct arenas a = fresh_arenas();
    for (size_t i = 0; i + 1 < sizeof first; i += 2) {
        first[i] = 1 << 3 | 2;
        first[i + 1] = 0;
    }
    struct bytes in = {first, sizeof first};
    assert_null(codec_decode(&pb__sessions_result__descriptor, in, &a.decoded));
    assert_true(a.decoded.full);
    arena_reset(&a.decoded);
    in.n = 200;
    assert_non_null(
        codec_decode(&pb__sessions_result__descriptor, in, &a.decoded));
    assert_false(a.decoded.full);
    /* Every arena too small by some, for one message. */
    ProtobufCMessage *m =
        fill_message(&pb__session_row__descriptor, 0, &a.filled);
    size_t n = codec_encode(m, first, sizeof first);
    size_t enough = 0;
    for (size_t room = ARENA_ALIGN; enough == 0; room += ARENA_ALIGN) {
        struct arena small;
        arena_init(&small, decoded_memory, room);
        Pb__SessionRow *row =
            codec_decode_session_row((struct bytes){first, n}, &small);
        assert_int_equal(row == NULL, small.full);
        enough = row != NULL ? room : 0;
    }
    assert_in_range(enough, sizeof(Pb__SessionRow), 4096);
}

static void test_refuses_what_is_malformed(void **state)
{
    (void)state;
    static const struct {
        uint8_t in[24];
        size_t n;
        bool good;
    } rows[] = {
        /* As a Path: three strings, 1 to 3. */
        {{0x0A, 1, 'n'}, 3, true},
        {{0x0A, 2, 'n'}, 3, false},         /* cut */
        {{0x0A}, 1, false},                 /* no length */
        {{0x8A}, 1, false},                 /* a tag cut */
        {{0x0A, 0}, 2, true},               /* empty */
        {{0x0A, 1, 0}, 3, false},           /* NUL */
        {{0x0A, 3, 'a', 0, 'b'}, 5, false}, /* NUL inside */
        {{0x0A, 9, '1', '2', '3', '4', '5', '6', '7', 0, '9'}, 11, false},
        {{0x0A, 9, '1', '2', '3', '4', '5', '6', '7', '8', 0}, 11, false},
        {{0x0A, 9, 1, 1, 1, 1, 1, 1, 1, 0x80, 0x80}, 11, true},
        {{0x8A, 0x80, 0x80, 0x80, 0x00, 1, 'n'}, 7, true}, /* long tag */
        {{0x8A, 0x80, 0x80, 0x80, 0x80, 0, 1, 'n'}, 8, false},
        {{0x8A, 0x80, 0x80, 0x80, 0x10, 1, 'n'}, 7, false}, /* 33 bits */
        {{0x0A, 0x81, 0x80, 0, 'n'}, 5, true},              /* long length */
        {{0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F}, 6, false},
        {{0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1}, 7, false},
        {{0x08, 1}, 2, false},      /* a number where text belongs */
        {{0x0B}, 1, false},         /* group */
        {{0x0C}, 1, false},         /* its end */
        {{0x0E, 1}, 2, false},      /* no such wire type */
        {{0x0F, 1}, 2, false},      /* nor this */
        {{0x02, 1, 'n'}, 3, false}, /* field 0 */
        {{0x00, 0}, 2, false},      /* all of it 0 */
        {{0x20, 1}, 2, true},       /* field 4: unknown */
        {{0x20}, 1, false},         /* without its value */
        {{0x20, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1},
         11,
         true}, /* 10 bytes of varint */
        {{0x20, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1},
         12,
         false},
        {{0x21, 1, 2, 3, 4, 5, 6, 7, 8}, 9, true},
        {{0x21, 1, 2, 3, 4, 5, 6, 7}, 8, false},
        {{0x25, 1, 2, 3, 4}, 5, true},
        {{0x25, 1, 2, 3}, 4, false},
        {{0x22, 2, 0, 0}, 4, true}, /* unknown bytes may hold anything */
        {{0x0A, 1, 'a', 0x0A, 1, 'b'}, 6, true}, /* the last one counts */
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct arenas a = fresh_arenas();
        uint8_t *in = malloc(rows[i].n); /* no byte more, for the sanitizer */
        assert_non_null(in);
        memcpy(in, rows[i].in, rows[i].n);
        ProtobufCMessage *m = codec_decode(
            &pb__path__descriptor, (struct bytes){in, rows[i].n}, &a.decoded);
        if ((m != NULL) != rows[i].good) {
            fail_msg("row %zu: %s", i, m != NULL ? "taken" : "refused");
        }
        free(in);
    }
}

/* Found by fuzzing: protobuf-c takes a field 0 that's written in two bytes, and encodes it to what it won't take again. */
static void test_refuses_field_zero_at_any_depth(void **state)
{
    (void)state;
    struct arenas a = fresh_arenas();
    static const uint8_t top[] = {0x80, 0x00, 1};
    static const uint8_t below[] = {0xCA, 2, 5, 8, 1, 0x80, 0x00, 1};
    static const uint8_t good[] = {0xCA, 2, 5, 8, 1, 0xA0, 0x00, 1};
    assert_null(
        codec_decode_command((struct bytes){top, sizeof top}, &a.decoded));
    assert_null(
        codec_decode_command((struct bytes){below, sizeof below}, &a.decoded));
    assert_non_null(
        codec_decode_command((struct bytes){good, sizeof good}, &a.decoded));
}

/* A name deep inside a request, with a NUL: as C text it would be another, shorter name. */
static void test_finds_a_nul_at_any_depth(void **state)
{
    (void)state;
    struct arenas a = fresh_arenas();
    char group[] = "alice!x";
    uint8_t secret[16] = {0};
    Pb__Path path = PB__PATH__INIT;
    path.namespace_ = (char *)"acme";
    path.group = group;
    Pb__OpenSession open = PB__OPEN_SESSION__INIT;
    open.path = &path;
    open.secret = codec_binary((struct bytes){secret, sizeof secret});
    Pb__Command command = PB__COMMAND__INIT;
    command.op_case = PB__COMMAND__OP_OPEN_SESSION;
    command.open_session = &open;
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    request.version = PROTOCOL_VERSION;
    request.op_case = PB__CLIENT_REQUEST__OP_COMMAND;
    request.command = &command;
    size_t n = codec_encode(&request.base, first, sizeof first);
    struct bytes in = {first, n};
    Pb__ClientRequest *back = codec_decode_request(in, &a.decoded);
    assert_non_null(back);
    assert_string_equal(back->command->open_session->path->group, "alice!x");
    uint8_t *bang = memchr(first, '!', n);
    assert_non_null(bang);
    *bang = 0;
    assert_null(codec_decode_request(in, &a.decoded));
    assert_false(a.decoded.full);
}

/* What a decoded message is good for: the JSON view and encoding again, whatever its bytes were. */
static void use(const ProtobufCMessage *m)
{
    if (m != NULL) {
        assert_int_equal(codec_encode(m, second, sizeof second), codec_size(m));
        assert_in_range(json_write(m, 0, text, sizeof text), 2, sizeof text);
    }
}

static void decode_exact(const ProtobufCMessageDescriptor *type,
                         const uint8_t *data, size_t n)
{
    struct arena a;
    arena_init(&a, decoded_memory, sizeof decoded_memory);
    uint8_t *in = malloc(n > 0 ? n : 1);
    assert_non_null(in);
    memcpy(in, data, n);
    ProtobufCMessage *m = codec_decode(type, (struct bytes){in, n}, &a);
    free(in); /* nothing decoded may point into it */
    use(m);
}

static const ProtobufCMessageDescriptor *const attacked[] = {
    &pb__client_request__descriptor, &pb__client_message__descriptor,
    &pb__peer_frame__descriptor,     &pb__command__descriptor,
    &pb__event_batch__descriptor,
};

static void test_survives_every_truncation(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(attacked); i++) {
        for (uint32_t v = 0; v < 4; v++) {
            struct arenas a = fresh_arenas();
            ProtobufCMessage *m = fill_message(attacked[i], v, &a.filled);
            size_t n = codec_encode(m, first, sizeof first);
            for (size_t cut = 0; cut <= n; cut++) {
                decode_exact(attacked[i], first, cut);
            }
        }
    }
}

/* Flips, overwrites, removes or doubles a few bytes of `out`; the new length. */
static size_t mutate(uint8_t *out, size_t n, uint64_t *seed)
{
    uint64_t edits = 1 + next_random(seed) % 4;
    for (uint64_t e = 0; e < edits && n > 1; e++) {
        size_t at = (size_t)(next_random(seed) % n);
        uint64_t how = next_random(seed);
        switch (how % 4) {
        case 0:
            out[at] ^= (uint8_t)(1u << (how >> 8 & 7));
            break;
        case 1:
            out[at] = (uint8_t)(how >> 8);
            break;
        case 2:
            memmove(out + at, out + at + 1, n - at - 1);
            n--;
            break;
        default:
            memmove(out + at + 1, out + at, n - at);
            n++;
            break;
        }
    }
    return n;
}

static void test_survives_mutations(void **state)
{
    (void)state;
    uint64_t seed = 2026;
    for (size_t i = 0; i < countof(attacked); i++) {
        for (unsigned round = 0; round < 2000; round++) {
            struct arenas a = fresh_arenas();
            ProtobufCMessage *m = fill_message(attacked[i], round, &a.filled);
            size_t n = codec_encode(m, first, sizeof first - 4);
            n = mutate(first, n, &seed);
            decode_exact(attacked[i], first, n);
        }
    }
}

static void test_views(void **state)
{
    (void)state;
    uint8_t data[3] = {1, 2, 3};
    ProtobufCBinaryData b = codec_binary((struct bytes){data, 3});
    assert_ptr_equal(b.data, data);
    assert_int_equal(b.len, 3);
    struct bytes back = codec_bytes(b);
    assert_ptr_equal(back.data, data);
    assert_int_equal(back.n, 3);
    assert_int_equal(codec_text(NULL).n, 0);
    assert_int_equal(codec_text("").n, 0);
    assert_int_equal(codec_text("acme").n, 4);
    assert_memory_equal(codec_text("acme").data, "acme", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_there_and_back),
        cmocka_unit_test(test_walk_knows_every_type),
        cmocka_unit_test(test_types_nest_no_deeper_than_said),
        cmocka_unit_test(test_no_bytes_are_all_defaults),
        cmocka_unit_test(test_unknown_fields_are_carried),
        cmocka_unit_test(test_encodes_only_what_fits),
        cmocka_unit_test(test_arena_caps_what_bytes_can_ask_for),
        cmocka_unit_test(test_refuses_what_is_malformed),
        cmocka_unit_test(test_refuses_field_zero_at_any_depth),
        cmocka_unit_test(test_finds_a_nul_at_any_depth),
        cmocka_unit_test(test_survives_every_truncation),
        cmocka_unit_test(test_survives_mutations),
        cmocka_unit_test(test_views),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
