#include "proto/json.h"

#include <string.h>

#include "proto/utf8.h"

/* uint64 fields that count things, and so stay far below 2^53: they're numbers, as their readers expect. So is all that ends
 * in one of the suffixes. */
struct name {
    const char *text;
    size_t n;
};
#define NAME(text)                                                             \
    {                                                                          \
        text, sizeof(text) - 1                                                 \
    }
static const struct name counts[] = {
    NAME("sessions"), NAME("leases"),      NAME("scopes"),
    NAME("groups"),   NAME("devices"),     NAME("watches"),
    NAME("renewals"), NAME("connections"), NAME("batons_more"),
};
static const struct name count_suffixes[] = {NAME("_ms"), NAME("_us"),
                                             NAME("_max")};

static const char hex_digits[] = "0123456789abcdef";

/* --- the writer -------------------------------------------------------------------------------------------------- */

void json_init(struct json_writer *w, char *out, size_t out_bytes)
{
    ASSERT(w != NULL);
    ASSERT(out != NULL);
    *w = (struct json_writer){.out = out, .out_bytes = out_bytes};
    w->overflow = out_bytes == 0;
}

size_t json_finish(struct json_writer *w)
{
    ASSERT(w->depth == 0);
    if (w->overflow) {
        if (w->out_bytes > 0) {
            w->out[0] = '\0';
        }
        return 0;
    }
    ASSERT(w->n < w->out_bytes);
    w->out[w->n] = '\0';
    return w->n;
}

static void put(struct json_writer *w, const char *text, size_t n)
{
    if (w->overflow) {
        return;
    }
    ASSERT(w->n < w->out_bytes);
    if (n > w->out_bytes - 1 - w->n) {
        w->overflow = true;
        return;
    }
    if (n > 0) {
        memcpy(w->out + w->n, text, n);
    }
    w->n += n;
}

static inline void put_char(struct json_writer *w, char c)
{
    if (w->overflow || w->n + 1 >= w->out_bytes) {
        w->overflow = true;
        return;
    }
    w->out[w->n++] = c;
}

/* What stands in front of a value or key. */
static void separate(struct json_writer *w)
{
    if (w->comma) {
        put_char(w, ',');
    }
    w->comma = true;
}

static void begin(struct json_writer *w, char c)
{
    separate(w);
    ASSERT(w->depth < JSON_DEPTH_MAX);
    put_char(w, c);
    w->depth++;
    w->comma = false;
}

static void end(struct json_writer *w, char c)
{
    ASSERT(w->depth > 0);
    put_char(w, c);
    w->depth--;
    w->comma = true;
}

void json_object_begin(struct json_writer *w)
{
    begin(w, '{');
}

void json_object_end(struct json_writer *w)
{
    end(w, '}');
}

void json_array_begin(struct json_writer *w)
{
    begin(w, '[');
}

void json_array_end(struct json_writer *w)
{
    end(w, ']');
}

/* An ASCII character that can't stand in a string as it is. */
static void put_escape(struct json_writer *w, uint8_t c)
{
    char short_form = 0;
    switch (c) {
    case '"':
    case '\\':
        short_form = (char)c;
        break;
    case '\b':
        short_form = 'b';
        break;
    case '\f':
        short_form = 'f';
        break;
    case '\n':
        short_form = 'n';
        break;
    case '\r':
        short_form = 'r';
        break;
    case '\t':
        short_form = 't';
        break;
    default:
        break;
    }
    if (short_form != 0) {
        put_char(w, '\\');
        put_char(w, short_form);
        return;
    }
    put(w, "\\u00", 4);
    put_char(w, hex_digits[c >> 4]);
    put_char(w, hex_digits[c & 15]);
}

static bool is_escaped(uint8_t c)
{
    return c < 0x20 || c == '"' || c == '\\' || c == 0x7F;
}

/* How many bytes from the front can go out unchanged. */
static size_t plain_n(struct bytes text)
{
    size_t n = 0;
    while (n < text.n) {
        uint8_t c = text.data[n];
        uint32_t point = c;
        size_t length = !is_escaped(c);
        if (c >= 0x80) {
            length =
                utf8_next((struct bytes){text.data + n, text.n - n}, &point);
        }
        if (length == 0) {
            break;
        }
        n += length;
    }
    ASSERT(n <= text.n);
    return n;
}

static void put_quoted(struct json_writer *w, struct bytes text)
{
    put_char(w, '"');
    while (text.n > 0 && !w->overflow) {
        size_t n = plain_n(text);
        put(w, (const char *)text.data, n);
        text.data += n;
        text.n -= n;
        if (text.n == 0) {
            break;
        }
        if (text.data[0] < 0x80) {
            put_escape(w, text.data[0]);
            n = 1;
        } else {
            put(w, "\xEF\xBF\xBD", 3);
            n = utf8_bad(text);
        }
        ASSERT(n <= text.n);
        text.data += n;
        text.n -= n;
    }
    put_char(w, '"');
}

void json_key(struct json_writer *w, const char *key)
{
    ASSERT(key != NULL);
    ASSERT(w->depth > 0);
    separate(w);
    put_quoted(w, (struct bytes){(const uint8_t *)key, strlen(key)});
    put_char(w, ':');
    w->comma = false;
}

void json_text(struct json_writer *w, struct bytes text)
{
    ASSERT_IMPLIES(text.n > 0, text.data != NULL);
    separate(w);
    put_quoted(w, text);
}

void json_cstring(struct json_writer *w, const char *text)
{
    struct bytes b = {0};
    if (text != NULL) {
        b = (struct bytes){(const uint8_t *)text, strlen(text)};
    }
    json_text(w, b);
}

void json_hex(struct json_writer *w, struct bytes b)
{
    ASSERT_IMPLIES(b.n > 0, b.data != NULL);
    separate(w);
    put_char(w, '"');
    for (size_t i = 0; i < b.n && !w->overflow; i++) {
        char pair[2] = {hex_digits[b.data[i] >> 4], hex_digits[b.data[i] & 15]};
        put(w, pair, sizeof pair);
    }
    put_char(w, '"');
}

static void put_digits(struct json_writer *w, uint64_t value)
{
    char digits[20]; /* of 2^64 - 1 */
    size_t at = sizeof digits;
    do {
        ASSERT(at > 0);
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    put(w, digits + at, sizeof digits - at);
}

static void put_signed(struct json_writer *w, int64_t value)
{
    if (value < 0) {
        put_char(w, '-');
        /* Not -value: that overflows for the lowest one. */
        put_digits(w, 0 - (uint64_t)value);
        return;
    }
    put_digits(w, (uint64_t)value);
}

void json_u64(struct json_writer *w, uint64_t value)
{
    separate(w);
    put_digits(w, value);
}

void json_hundredths(struct json_writer *w, uint64_t hundredths)
{
    separate(w);
    put_digits(w, hundredths / 100);
    put_char(w, '.');
    put_char(w, (char)('0' + hundredths / 10 % 10));
    put_char(w, (char)('0' + hundredths % 10));
}

void json_u64_string(struct json_writer *w, uint64_t value)
{
    separate(w);
    put_char(w, '"');
    put_digits(w, value);
    put_char(w, '"');
}

void json_i64(struct json_writer *w, int64_t value)
{
    separate(w);
    put_signed(w, value);
}

void json_i64_string(struct json_writer *w, int64_t value)
{
    separate(w);
    put_char(w, '"');
    put_signed(w, value);
    put_char(w, '"');
}

void json_bool(struct json_writer *w, bool value)
{
    separate(w);
    put(w, value ? "true" : "false", value ? 4 : 5);
}

void json_nothing(struct json_writer *w)
{
    separate(w);
    put(w, "null", 4);
}

/* A field's name, in which nothing is to be escaped. */
static void put_name(struct json_writer *w, const char *name)
{
    separate(w);
    put_char(w, '"');
    put(w, name, strlen(name));
    put(w, "\":", 2);
    w->comma = false;
}

/* --- the view of a message --------------------------------------------------------------------------------------- */

static bool ends_with(struct name name, struct name suffix)
{
    return name.n >= suffix.n &&
           memcmp(name.text + name.n - suffix.n, suffix.text, suffix.n) == 0;
}

static bool is_count(const char *text)
{
    const struct name name = {text, strlen(text)};
    for (size_t i = 0; i < countof(count_suffixes); i++) {
        if (ends_with(name, count_suffixes[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < countof(counts); i++) {
        if (name.n == counts[i].n && ends_with(name, counts[i])) {
            return true;
        }
    }
    return false;
}

/* Values are read by memcpy: the descriptor says where they lie and how big they are, the C type only protobuf-c knows. */
static uint64_t read_u64(const void *at)
{
    uint64_t value = 0;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint32_t read_u32(const void *at)
{
    uint32_t value = 0;
    memcpy(&value, at, sizeof value);
    return value;
}

static const void *read_pointer(const void *at)
{
    const void *value = NULL;
    memcpy((void *)&value, at, sizeof value);
    return value;
}

/* How far apart the elements of a repeated field lie. */
static size_t size_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    }
    ASSERT(!"a type that protobuf-c doesn't have");
    return 0;
}

static void write_enum(struct json_writer *w, const ProtobufCEnumDescriptor *d,
                       int32_t value)
{
    ASSERT(d != NULL);
    const ProtobufCEnumValue *known =
        protobuf_c_enum_descriptor_get_value(d, value);
    if (known == NULL) {
        json_i64(w, value); /* from a newer version */
        return;
    }
    json_cstring(w, known->name);
}

static void write_value(struct json_writer *w,
                        const ProtobufCFieldDescriptor *f, const void *at,
                        uint32_t flags)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        json_i64(w, (int32_t)read_u32(at));
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        json_u64(w, read_u32(at));
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        json_i64_string(w, (int64_t)read_u64(at));
        break;
    case PROTOBUF_C_TYPE_FIXED64:
        json_u64_string(w, read_u64(at));
        break;
    case PROTOBUF_C_TYPE_UINT64:
        if (is_count(f->name)) {
            json_u64(w, read_u64(at));
        } else {
            json_u64_string(w, read_u64(at));
        }
        break;
    case PROTOBUF_C_TYPE_BOOL:
        json_bool(w, read_u32(at) != 0);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        write_enum(w, f->descriptor, (int32_t)read_u32(at));
        break;
    case PROTOBUF_C_TYPE_STRING:
        json_cstring(w, read_pointer(at));
        break;
    case PROTOBUF_C_TYPE_BYTES: {
        ProtobufCBinaryData b = {0};
        memcpy(&b, at, sizeof b);
        json_hex(w, (struct bytes){b.data, b.len});
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        json_message(w, read_pointer(at), flags);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        /* The .proto files have none, and aren't to get any: what's replicated is integers. */
        ASSERT(!"no floating point in Baton's messages");
        break;
    }
}

static bool is_default(const ProtobufCFieldDescriptor *f, const void *at)
{
    ASSERT(f->label != PROTOBUF_C_LABEL_REPEATED);
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = read_pointer(at);
        return text == NULL || text[0] == '\0';
    }
    if (f->type == PROTOBUF_C_TYPE_BYTES) {
        ProtobufCBinaryData b = {0};
        memcpy(&b, at, sizeof b);
        return b.len == 0;
    }
    if (size_of(f->type) == 4) {
        return read_u32(at) == 0;
    }
    return read_u64(at) == 0;
}

static void write_repeated(struct json_writer *w,
                           const ProtobufCFieldDescriptor *f,
                           const uint8_t *base, uint32_t flags)
{
    size_t n = 0;
    memcpy(&n, base + f->quantifier_offset, sizeof n);
    if (n == 0 && (flags & JSON_SKIP_DEFAULTS) != 0) {
        return;
    }
    put_name(w, f->name);
    json_array_begin(w);
    const uint8_t *at = read_pointer(base + f->offset);
    ASSERT_IMPLIES(n > 0, at != NULL);
    for (size_t i = 0; i < n && !w->overflow; i++) {
        write_value(w, f, at + i * size_of(f->type), flags);
    }
    json_array_end(w);
}

static void write_field(struct json_writer *w,
                        const ProtobufCFieldDescriptor *f, const uint8_t *base,
                        uint32_t flags)
{
    const uint8_t *at = base + f->offset;
    bool in_oneof = (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        write_repeated(w, f, base, flags);
        return;
    }
    /* Which member of a oneof is set is said outside of it: a default in there is a value all the same. */
    if (in_oneof && read_u32(base + f->quantifier_offset) != f->id) {
        return;
    }
    if (f->type == PROTOBUF_C_TYPE_MESSAGE && read_pointer(at) == NULL) {
        return;
    }
    if (!in_oneof && (flags & JSON_SKIP_DEFAULTS) != 0 && is_default(f, at)) {
        return;
    }
    put_name(w, f->name);
    write_value(w, f, at, flags);
}

void json_message(struct json_writer *w, const ProtobufCMessage *m,
                  uint32_t flags)
{
    ASSERT(m != NULL);
    ASSERT(m->descriptor != NULL);
    json_object_begin(w);
    for (unsigned i = 0; i < m->descriptor->n_fields && !w->overflow; i++) {
        write_field(w, &m->descriptor->fields[i], (const uint8_t *)m, flags);
    }
    json_object_end(w);
}

size_t json_write(const ProtobufCMessage *m, uint32_t flags, char *out,
                  size_t out_bytes)
{
    struct json_writer w;
    json_init(&w, out, out_bytes);
    json_message(&w, m, flags);
    return json_finish(&w);
}
