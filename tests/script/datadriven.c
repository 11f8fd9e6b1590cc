#include "tests/script/datadriven.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 65536

/* A file while it's run: lines come in, and the file with its new outputs goes out. */
struct script {
    const char *path;
    FILE *in;
    char *line; /* the current one, with its newline */
    unsigned number;
    bool at_end;
    char *rewritten;
    size_t rewritten_bytes;
    FILE *out;
};

/* A block being read: the command's text (continued lines joined), input, expected output. */
struct block {
    char command[LINE_BYTES];
    unsigned line;
    char *input;
    char *expected;
};

static void *checked(void *memory)
{
    if (memory == NULL) {
        perror("datadriven");
        exit(2);
    }
    return memory;
}

static void fail_at(const char *path, unsigned line, const char *message)
    __attribute__((noreturn));

static void fail_at(const char *path, unsigned line, const char *message)
{
    (void)fprintf(stderr, "%s:%u: %s\n", path, line, message);
    exit(2);
}

void datadriven_fail(const struct datadriven_command *command,
                     const char *message)
{
    fail_at(command->file, command->line, message);
}

static void next_line(struct script *s)
{
    if (fgets(s->line, LINE_BYTES, s->in) == NULL) {
        s->at_end = true;
        s->line[0] = '\0';
        return;
    }
    s->number++;
}

static bool is_blank(const char *line)
{
    return line[strspn(line, " \t\r\n")] == '\0';
}

static bool is_dashes(const char *line)
{
    return strcmp(line, "----\n") == 0 || strcmp(line, "----") == 0;
}

static void put(FILE *file, const char *text)
{
    if (fputs(text, file) == EOF) {
        perror("datadriven");
        exit(2);
    }
}

/* The lines up to an empty one; or, if the first is ---- too, up to a pair of ---- lines. */
static char *read_expected(struct script *s)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *copy = checked(open_memstream(&text, &bytes));
    const bool fenced = !s->at_end && is_dashes(s->line);
    if (fenced) {
        next_line(s);
    }
    while (!s->at_end && (fenced || !is_blank(s->line))) {
        if (fenced && is_dashes(s->line)) {
            next_line(s);
            if (!s->at_end && is_dashes(s->line)) {
                next_line(s);
                break;
            }
            put(copy, "----\n");
            continue;
        }
        put(copy, s->line);
        next_line(s);
    }
    (void)fclose(copy);
    return text;
}

static char *read_input(struct script *s)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *copy = checked(open_memstream(&text, &bytes));
    while (!s->at_end && !is_dashes(s->line)) {
        put(copy, s->line);
        put(s->out, s->line);
        next_line(s);
    }
    (void)fclose(copy);
    return text;
}

/* Finds the next block, copying what's before it. False at the end of the file. */
static bool read_block(struct script *s, struct block *b)
{
    while (!s->at_end && (is_blank(s->line) || s->line[0] == '#')) {
        put(s->out, s->line);
        next_line(s);
    }
    if (s->at_end) {
        return false;
    }
    (void)snprintf(b->command, sizeof(b->command), "%s", s->line);
    b->line = s->number;
    put(s->out, s->line);
    next_line(s);
    b->input = read_input(s);
    if (s->at_end) {
        fail_at(s->path, b->line, "no ---- behind this command");
    }
    put(s->out, s->line);
    next_line(s);
    b->expected = read_expected(s);
    return true;
}

static void add_word(struct datadriven_command *c, char *text)
{
    if (c->words_n == DATADRIVEN_WORDS_MAX) {
        datadriven_fail(c, "too many words");
    }
    struct datadriven_word *word = &c->words[c->words_n];
    c->words_n++;
    char *equals = strchr(text, '=');
    if (equals == NULL) {
        *word = (struct datadriven_word){.key = "", .value = text};
        return;
    }
    *equals = '\0';
    char *value = equals + 1;
    const size_t n = strlen(value);
    if (n >= 2 && value[0] == '(' && value[n - 1] == ')') {
        value[n - 1] = '\0';
        value++;
    }
    *word = (struct datadriven_word){.key = text, .value = value};
}

/* The end of the word at `text`: the first blank outside parentheses and double quotes. */
static char *word_end(char *text)
{
    int depth = 0;
    bool quoted = false;
    while (*text != '\0') {
        if (*text == '"') {
            quoted = !quoted;
        } else if (!quoted && *text == '(') {
            depth++;
        } else if (!quoted && *text == ')') {
            depth--;
        } else if (!quoted && depth == 0 && strchr(" \t\r\n", *text) != NULL) {
            break;
        }
        text++;
    }
    return text;
}

static void parse(struct datadriven_command *c, char *text)
{
    while (true) {
        text += strspn(text, " \t\r\n");
        if (*text == '\0') {
            break;
        }
        char *end = word_end(text);
        const bool last = *end == '\0';
        *end = '\0';
        if (c->verb == NULL) {
            c->verb = text;
        } else {
            add_word(c, text);
        }
        if (last) {
            break;
        }
        text = end + 1;
    }
}

static void write_output(FILE *file, const char *text)
{
    if (strncmp(text, "\n", 1) == 0 || strstr(text, "\n\n") != NULL ||
        strncmp(text, "----\n", 5) == 0) {
        (void)fprintf(file, "----\n%s----\n----\n", text);
    } else {
        put(file, text);
    }
}

/* Prints what differs: the expected lines with -, what came instead with +, between what both begin and end with. */
static void print_difference(const struct script *s, const struct block *b,
                             const char *got)
{
    (void)fprintf(stderr, "%s:%u: %s", s->path, b->line, b->command);
    const char *want = b->expected;
    while (*want != '\0' && *got != '\0') {
        const size_t n = strcspn(want, "\n");
        if (n != strcspn(got, "\n") || strncmp(want, got, n) != 0) {
            break;
        }
        (void)fprintf(stderr, "    %.*s\n", (int)n, want);
        want += n + (want[n] == '\n' ? 1 : 0);
        got += n + (got[n] == '\n' ? 1 : 0);
    }
    const char *sides[] = {want, got};
    for (unsigned side = 0; side < 2; side++) {
        for (const char *at = sides[side]; *at != '\0';) {
            const size_t n = strcspn(at, "\n");
            (void)fprintf(stderr, "  %c %.*s\n", side == 0 ? '-' : '+', (int)n,
                          at);
            at += n + (at[n] == '\n' ? 1 : 0);
        }
    }
}

/* True if the output was as expected. */
static bool run_block(struct script *s, struct block *b,
                      const struct datadriven_runner *runner, void *state)
{
    static char text[LINE_BYTES];
    (void)snprintf(text, sizeof(text), "%s", b->command);
    struct datadriven_command command = {
        .file = s->path, .line = b->line, .input = b->input};
    parse(&command, text);
    char *got = NULL;
    size_t bytes = 0;
    FILE *output = checked(open_memstream(&got, &bytes));
    runner->run(state, &command, output);
    (void)fclose(output);
    if (bytes > 0 && got[bytes - 1] != '\n') {
        fail_at(s->path, b->line, "the runner's output has no newline at end");
    }
    write_output(s->out, got);
    const bool same = strcmp(got, b->expected) == 0;
    if (!same) {
        print_difference(s, b, got);
    }
    free(got);
    free(b->input);
    free(b->expected);
    return same;
}

static void save(const struct script *s)
{
    FILE *file = fopen(s->path, "w");
    if (file == NULL ||
        fwrite(s->rewritten, 1, s->rewritten_bytes, file) !=
            s->rewritten_bytes ||
        fclose(file) != 0) {
        perror(s->path);
        exit(2);
    }
}

static bool run_file(const char *path, bool rewrite,
                     const struct datadriven_runner *runner)
{
    static char line[LINE_BYTES];
    static struct block block;
    struct script s = {.path = path, .line = line};
    s.in = fopen(path, "r");
    if (s.in == NULL) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(2);
    }
    s.out = checked(open_memstream(&s.rewritten, &s.rewritten_bytes));
    void *state = runner->begin(runner->arg);
    bool same = true;
    unsigned blocks = 0;
    next_line(&s);
    while (read_block(&s, &block)) {
        same = run_block(&s, &block, runner, state) && same;
        blocks++;
    }
    runner->end(state);
    (void)fclose(s.in);
    (void)fclose(s.out);
    if (blocks == 0) {
        fail_at(path, 1, "no command in this file");
    }
    if (!same && rewrite) {
        save(&s);
        (void)fprintf(stderr, "%s: rewritten\n", path);
    }
    free(s.rewritten);
    return same || rewrite;
}

int datadriven_main(int argc, char **argv,
                    const struct datadriven_runner *runner)
{
    bool rewrite = false;
    bool same = true;
    unsigned files = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--rewrite") == 0) {
            rewrite = true;
            continue;
        }
        same = run_file(argv[i], rewrite, runner) && same;
        files++;
    }
    if (files == 0) {
        (void)fprintf(stderr, "usage: %s [--rewrite] FILE...\n", argv[0]);
        return 2;
    }
    return same ? 0 : 1;
}

const char *datadriven_value(const struct datadriven_command *command,
                             const char *key)
{
    for (unsigned i = 0; i < command->words_n; i++) {
        if (strcmp(command->words[i].key, key) == 0 && *key != '\0') {
            return command->words[i].value;
        }
    }
    return NULL;
}

static uint64_t number_of(const struct datadriven_command *command,
                          const char *text, char **end)
{
    errno = 0;
    const unsigned long long number = strtoull(text, end, 10);
    if (errno != 0 || *end == text) {
        datadriven_fail(command, "a number was expected");
    }
    return number;
}

uint64_t datadriven_number(const struct datadriven_command *command,
                           const char *key, uint64_t otherwise)
{
    const char *text = datadriven_value(command, key);
    if (text == NULL) {
        return otherwise;
    }
    char *end = NULL;
    const uint64_t number = number_of(command, text, &end);
    if (*end != '\0') {
        datadriven_fail(command, "a number was expected");
    }
    return number;
}

const char *datadriven_plain(const struct datadriven_command *command,
                             unsigned i)
{
    for (unsigned word = 0; word < command->words_n; word++) {
        if (*command->words[word].key != '\0') {
            continue;
        }
        if (i == 0) {
            return command->words[word].value;
        }
        i--;
    }
    return NULL;
}

bool datadriven_has(const struct datadriven_command *command, const char *word)
{
    for (unsigned i = 0; i < command->words_n; i++) {
        if (*command->words[i].key == '\0' &&
            strcmp(command->words[i].value, word) == 0) {
            return true;
        }
    }
    return false;
}

unsigned datadriven_list(const struct datadriven_command *command,
                         const char *text, uint64_t *out, unsigned max)
{
    unsigned n = 0;
    while (*text != '\0') {
        char *end = NULL;
        if (n == max) {
            datadriven_fail(command, "the list is too long");
        }
        out[n] = number_of(command, text, &end);
        n++;
        text = end + strspn(end, ", ");
    }
    return n;
}
