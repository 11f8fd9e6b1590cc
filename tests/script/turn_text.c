#include "tests/script/turn_text.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "proto/status.h"
#include "raft/message.h"
#include "tests/script/raft_text.h"
#include "tests/script/registry_text.h"

/* Names that a reader of scripts can do without: versions, sentences, wall clocks, and what the line has said already. */
static const char *const left_out[] = {
    "version", "message", "id", "status", "wall_ms", "time_ms", "batches",
};

static bool is_left_out(const char *name, bool top)
{
    for (size_t i = 0; i < countof(left_out); i++) {
        if (strcmp(name, left_out[i]) == 0) {
            return top || strcmp(name, "id") != 0;
        }
    }
    return false;
}

static void fields(FILE *f, const ProtobufCMessage *m, bool top);

static void put_bytes(FILE *f, const char *name, const ProtobufCBinaryData *b)
{
    bool text = true;
    for (size_t i = 0; i < b->len; i++) {
        text = text && isgraph(b->data[i]);
    }
    if (text && b->len < 60) {
        (void)fprintf(f, " %s=%.*s", name, (int)b->len, (const char *)b->data);
    } else {
        (void)fprintf(f, " %s=(%zu bytes)", name, b->len);
    }
}

static void put_enum(FILE *f, const ProtobufCFieldDescriptor *field, int value)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(field->descriptor, value);
    (void)fprintf(f, " %s=%s", field->name, v == NULL ? "?" : v->name);
}

static void put_text(FILE *f, const char *name, const char *text)
{
    if (text != NULL && text[0] != 0) {
        (void)fprintf(f, " %s=%s", name, text);
    }
}

static void put_message(FILE *f, const char *name, const ProtobufCMessage *m)
{
    if (m != NULL) {
        (void)fprintf(f, " %s{", name);
        fields(f, m, false);
        (void)fprintf(f, " }");
    }
}

/* One value at `at`, if it isn't the default. */
static void put_value(FILE *f, const ProtobufCFieldDescriptor *field,
                      const void *at)
{
    uint64_t wide = 0;
    uint32_t narrow = 0;
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        memcpy(&wide, at, sizeof wide);
        if (wide != 0) {
            (void)fprintf(f, " %s=%" PRId64, field->name, (int64_t)wide);
        }
        break;
    case PROTOBUF_C_TYPE_BOOL:
        if (*(const protobuf_c_boolean *)at) {
            (void)fprintf(f, " %s", field->name);
        }
        break;
    case PROTOBUF_C_TYPE_STRING:
        put_text(f, field->name, *(char *const *)at);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        if (((const ProtobufCBinaryData *)at)->len > 0) {
            put_bytes(f, field->name, at);
        }
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        put_message(f, field->name, *(ProtobufCMessage *const *)at);
        break;
    default: /* 32 bits, and enums */
        memcpy(&narrow, at, sizeof narrow);
        if (narrow != 0 && field->type == PROTOBUF_C_TYPE_ENUM) {
            put_enum(f, field, (int)narrow);
        } else if (narrow != 0 && strcmp(field->name, "reason") == 0 &&
                   strcmp(text_reason(narrow), "?") != 0) {
            (void)fprintf(f, " reason=%s", text_reason(narrow));
        } else if (narrow != 0) {
            (void)fprintf(f, " %s=%" PRId32, field->name, (int32_t)narrow);
        }
        break;
    }
}

static size_t width_of(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return sizeof(uint64_t);
    default:
        return sizeof(uint32_t);
    }
}

static void fields(FILE *f, const ProtobufCMessage *m, bool top)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &m->descriptor->fields[i];
        const uint8_t *at = (const uint8_t *)m + field->offset;
        bool oneof = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
        uint32_t chosen = 0;
        if (oneof) {
            memcpy(&chosen, (const uint8_t *)m + field->quantifier_offset,
                   sizeof chosen);
        }
        if (is_left_out(field->name, top) || (oneof && chosen != field->id)) {
            continue;
        }
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            put_value(f, field, at);
            continue;
        }
        size_t n = 0;
        const uint8_t *values = NULL;
        memcpy(&n, (const uint8_t *)m + field->quantifier_offset, sizeof n);
        memcpy(&values, at, sizeof values);
        for (size_t v = 0; v < n; v++) {
            put_value(f, field, values + v * width_of(field));
        }
    }
}

static void put_batches(FILE *f, Pb__EventBatch *const *batches, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t e = 0; e < batches[i]->n_events; e++) {
            (void)fprintf(f, "    event");
            fields(f, &batches[i]->events[e]->base, false);
            (void)fprintf(f, "\n");
        }
    }
}

static void put_part(FILE *f, const Pb__WatchPart *part)
{
    (void)fprintf(f, " watch%s%s%s\n", part->reset ? " reset" : "",
                  part->synced ? " synced" : "",
                  part->lagging ? " lagging" : "");
    for (size_t i = 0; i < part->n_scopes; i++) {
        (void)fprintf(f, "    scope");
        fields(f, &part->scopes[i]->base, false);
        (void)fprintf(f, "\n");
    }
    for (size_t i = 0; i < part->n_sessions; i++) {
        (void)fprintf(f, "    session");
        fields(f, &part->sessions[i]->base, false);
        (void)fprintf(f, "\n");
    }
    put_batches(f, part->batches, part->n_batches);
}

void turn_text_message(FILE *f, uint64_t conn, uint32_t node,
                       const Pb__ClientMessage *m)
{
    (void)fprintf(f, "%" PRIu64 "<%u #%" PRIu64 " %s", conn, node, m->id,
                  status_name((enum baton_status)m->status));
    if (m->result_case == PB__CLIENT_MESSAGE__RESULT_WATCH) {
        (void)fprintf(f, " revision=%" PRIu64, m->revision);
        put_part(f, m->watch);
        return;
    }
    fields(f, &m->base, true);
    (void)fprintf(f, "\n");
    if (m->result_case == PB__CLIENT_MESSAGE__RESULT_EVENTS) {
        put_batches(f, m->events->batches, m->events->n_batches);
    }
}

void turn_text_frame(FILE *f, uint32_t from, uint32_t to,
                     const Pb__PeerFrame *frame)
{
    char text[200];
    const Pb__SnapshotChunk *chunk = frame->chunk;
    const struct raft_message m = {
        .type = (enum raft_message_type)frame->type,
        .from = from,
        .to = to,
        .term = frame->term,
        .index = frame->index,
        .log_term = frame->log_term,
        .commit = frame->commit,
        .round = frame->round,
        .hint_index = frame->hint_index,
        .hint_term = frame->hint_term,
        .entries_n = (uint32_t)frame->n_entries,
        .success = frame->success,
        .pre = frame->pre,
        .force = frame->force,
        .quiet = frame->quiet,
    };
    if (frame->type > RAFT_SNAPSHOT_REPLY && chunk != NULL) {
        (void)fprintf(
            f, "  %u>%u SNAPSHOT_ACK term %" PRIu64 " of %" PRIu64 "%s\n", from,
            to, frame->term, chunk->index,
            chunk->from_key.len == 0 ? ": from the beginning" : "");
        return;
    }
    (void)fprintf(f, "  %s", raft_message_text(&m, text, sizeof text));
    if (chunk != NULL) {
        (void)fprintf(f, " rows %zu%s", chunk->n_rows,
                      chunk->last ? " last" : "");
    }
    (void)fprintf(f, "\n");
}
