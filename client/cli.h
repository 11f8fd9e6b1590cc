/* cli.h - what the verbs of the command line share: arguments, output, exit codes. */
#ifndef CLIENT_CLI_H
#define CLIENT_CLI_H

#include <stdio.h>

#include "client/client.h"
#include "proto/json.h"

/* As the README's table says; scripts rely on them. */
enum cli_exit {
    CLI_DONE = 0,
    CLI_USAGE = 1,
    CLI_NONE = 2,      /* there is none: no leader, no such session */
    CLI_NO_QUORUM = 3, /* or nobody reachable, by --timeout */
    CLI_REFUSED = 4,
};

struct cli {
    const char *endpoints;
    const char *tls_ca;
    const char *tls_cert_key;
    bool json;
    uint32_t timeout_ms;
    struct baton *b;
    bool one_view_told; /* the first of several pages says it */
    const struct verb *verb;
    int argc; /* behind the verb */
    char **argv;
};

struct verb {
    const char *name;
    const char *form;    /* what may follow the name */
    const char *summary; /* one line */
    const char *help;    /* the rest: options, output, examples */
    int (*run)(struct cli *c);
};

/* cli_help.c: all verbs, ending with a name of NULL. */
extern const struct verb cli_verbs[];
const struct verb *cli_find_verb(const char *name);
int cli_help(const char *verb);

/* The verbs. Each returns an exit code. */
int cli_status(struct cli *c);
int cli_status_live(struct cli *c);
int cli_session(struct cli *c);
int cli_sessions(struct cli *c);
int cli_leader(struct cli *c);
int cli_explain(struct cli *c);
int cli_verify(struct cli *c);
int cli_watch(struct cli *c);
int cli_events(struct cli *c);
int cli_handoff(struct cli *c);
int cli_resign(struct cli *c);
int cli_demote(struct cli *c);
int cli_policy(struct cli *c);
int cli_elect(struct cli *c);
int cli_transfer(struct cli *c);
int cli_member(struct cli *c);
int cli_bench(struct cli *c);

/* --- arguments (cli_args.c) ------------------------------------------------------------------------------------------ */
#define CLI_POSITIONAL_MAX 8

enum cli_option_type {
    CLI_FLAG,    /* bool */
    CLI_TEXT,    /* const char * */
    CLI_NAME,    /* const char *: a tab's name, or a device's */
    CLI_ADDRESS, /* const char *: HOST:PORT */
    CLI_U64,     /* uint64_t */
    CLI_ID,      /* uint64_t, from 1 */
    CLI_MS,      /* uint32_t: "10s", "500ms", "1m" */
    CLI_TTL,     /* uint32_t, of a lease: 1s to 10m */
};

struct cli_option {
    const char *name; /* "--ttl" */
    enum cli_option_type type;
    void *out; /* untouched if it isn't given */
};

struct cli_scope {
    char namespace_name[NAME_BYTES_MAX + 1];
    char group[NAME_BYTES_MAX + 1];
    char device[NAME_BYTES_MAX + 1];
};

struct cli_target {
    struct cli_scope scope;
    uint64_t epoch; /* 0: not asked for */
};

/* Takes the verb's options out of c->argv; the rest goes to out[0 .. *out_n). Stops at "--". Says what's wrong and returns CLI_USAGE, else
 * CLI_DONE. `options` end with a name of NULL. */
MUST_USE int cli_parse(struct cli *c, const struct cli_option *options,
                       const char *out[CLI_POSITIONAL_MAX], int *out_n);
/* Takes --endpoints, --json, --timeout, --help and --version out of argv, wherever they stand (but behind "--"). */
MUST_USE int cli_parse_globals(struct cli *c, int *argc, char **argv,
                               bool *out_help, bool *out_version);
/* A whole number with a unit (ms, s, m, h); a number alone isn't one, but 0 is. False: malformed, or over 24 h. */
bool cli_duration(const char *text, uint32_t *out_ms);
bool cli_number(const char *text, uint64_t max, uint64_t *out);
/* NS/G, NS/G/D, or NS/G with D beside it (may be NULL); `parts_min` 1: NS alone will do, 0: nothing at all too. Complains and returns
 * CLI_USAGE, or CLI_DONE. */
MUST_USE int cli_parse_scope(struct cli *c, const char *path,
                             const char *device, int parts_min,
                             struct cli_scope *out);
/* Likewise NS/G, or NS alone, without a device. */
MUST_USE int cli_parse_group(struct cli *c, const char *path, int parts_min,
                             struct cli_scope *out);
/* A verb's whole arguments, NS/G [D], and with `with_epoch` EPOCH behind it. As cli_parse(). */
MUST_USE int cli_take_scope(struct cli *c, const struct cli_option *options,
                            bool with_epoch, struct cli_target *out);
/* Likewise [NS[/G]]. */
MUST_USE int cli_take_filter(struct cli *c, const struct cli_option *options,
                             struct cli_scope *out);
struct baton_scope cli_scope_view(const struct cli_scope *s);
/* The word for a value of `kind` or `network`; NULL: it's a number. Static. */
const char *cli_capability_word(const char *key, int32_t value);
/* k=v,k=v as --cap has it. At most 16. A sentence in error, and false. */
bool cli_capabilities(const char *text, struct baton_capability *out,
                      size_t *out_n, char *error, size_t error_bytes);
/* Arguments from this one on are more than the verb takes. CLI_USAGE. */
int cli_surplus(const struct cli *c, const char *arg);
/* What's wrong, and the verb's right form. CLI_USAGE. */
int cli_usage(const struct cli *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* --- output (cli_out.c) ---------------------------------------------------------------------------------------------- */
struct cli_table; /* cells of text, aligned when printed */
struct cli_table *cli_table_make(const char *const *heads, int columns);
/* The next cell, row by row; a NULL format is an empty one. */
void cli_table_add(struct cli_table *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void cli_table_print(struct cli_table *t, FILE *to);
void cli_table_free(struct cli_table *t);

/* One object on a line of its own, flushed. */
struct json_writer *cli_json_begin(void);
void cli_json_end(void);
void cli_json_id(struct json_writer *w, const char *key, uint64_t id);
void cli_json_number(struct json_writer *w, const char *key, uint64_t n);
void cli_json_text(struct json_writer *w, const char *key, const char *text);
void cli_json_flag(struct json_writer *w, const char *key, bool value);
/* "acme/alice/laptop" */
const char *cli_path(const Pb__Path *path);
/* "12 s": rounded for people. One of four static buffers. */
const char *cli_span(uint64_t ms);
const char *cli_role(int role);
const char *cli_enum(const ProtobufCEnumDescriptor *type, int value);

/* How long ago the node that answered heard of a leader. */
enum cli_age_kind {
    CLI_AGE_UNTOLD, /* the answer doesn't say */
    CLI_AGE_KNOWN,
    CLI_AGE_UNKNOWN, /* it hasn't heard of any since it started */
};
struct cli_age {
    enum cli_age_kind kind;
    uint64_t ms; /* KNOWN */
};
struct cli_age cli_age(uint64_t ms, bool unknown);
/* "as one node knew it", and how old that is. A static buffer. */
const char *cli_one_view_text(struct cli_age age);
/* "age_ms"; null if it's unknown, nothing if it's untold. */
void cli_json_age(struct json_writer *w, struct cli_age age);
/* The fields of an answer that is one node's view. */
void cli_json_one_view(struct json_writer *w, struct cli_age age);
/* Says the same on stderr. */
void cli_one_view(const struct cli *c, struct cli_age age);

/* The exit code of a status. */
int cli_exit_of(enum baton_status status);
/* Says why on stderr (as an object with --json), and returns the exit code. */
int cli_fail(const struct cli *c, enum baton_status status,
             const char *message);
/* As cli_fail(), of a refusal that is one node's view. */
int cli_fail_one_view(const struct cli *c, enum baton_status status,
                      const char *message, struct cli_age age);

/* --- talking (cli.c) ------------------------------------------------------------------------------------------------- */
/* A client, in c->b. `extra`: options but endpoints and timeout, may be NULL. Complains and returns an exit code. */
MUST_USE int cli_connect(struct cli *c, const struct baton_options *extra);
/* Sends one request and waits for that result; if it's one node's view, says so. The message lives in *out_memory: free() it. NULL: it was refused, cli_fail() has
 * said so, and *out_exit is the code. */
Pb__ClientMessage *cli_ask(struct cli *c, ProtobufCMessage *op,
                           Pb__ClientMessage__ResultCase want,
                           void **out_memory, int *out_exit);
Pb__Consistency cli_consistency(bool stale);
/* Set by SIGINT and SIGTERM once cli_signals() was called; cli_signal_fd() is readable then. */
void cli_signals(void);
int cli_signal_fd(void);
int cli_signalled(void);

#endif
