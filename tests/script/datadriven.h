/* datadriven.h - tests as text: a command, a line of four dashes, and the whole output that is expected.
 *
 *     # A comment, as long as it takes.
 *     propose node=1 n=2
 *     <more lines: the command's input>
 *     ----
 *     1>2 APPEND ...
 *
 * The output ends at an empty line; output that has empty lines itself stands between two pairs of ---- lines. A command is a
 * verb, then words, key=value or key=(a,b,c). A runner implements one function and calls datadriven_main(): it compares
 * what it printed with what stands there, prints the difference, or with --rewrite puts the new output in its place (comments
 * and layout stay). The style is that of etcd-io/raft's and CockroachDB's datadriven tests. */
#ifndef TESTS_SCRIPT_DATADRIVEN_H
#define TESTS_SCRIPT_DATADRIVEN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define DATADRIVEN_WORDS_MAX 64

struct datadriven_word {
    const char *key;   /* "" for a plain word */
    const char *value; /* without parentheses */
};

/* One command; valid during the call of run(). */
struct datadriven_command {
    const char *file;
    unsigned line;
    const char *verb;
    struct datadriven_word words[DATADRIVEN_WORDS_MAX];
    unsigned words_n;
    /* lines between the command and ----, with their newlines; "" if none */
    const char *input;
};

struct datadriven_runner {
    void *(*begin)(
        void *arg); /* before each file; its result is given to run and end */
    void (*run)(void *state, const struct datadriven_command *command,
                FILE *output);
    void (*end)(void *state);
    void *arg;
};

/* Handles --rewrite and the files named in argv. Returns the exit code: 0 if every output was as expected (or was rewritten), 1
 * if one wasn't, 2 on a malformed file. */
int datadriven_main(int argc, char **argv,
                    const struct datadriven_runner *runner);

/* Value of key=value; NULL if it isn't there. */
const char *datadriven_value(const struct datadriven_command *command,
                             const char *key);
/* Number of key=N, or `otherwise`. A value that is no number ends the process with file and line. */
uint64_t datadriven_number(const struct datadriven_command *command,
                           const char *key, uint64_t otherwise);
/* Plain word number i, or NULL. */
const char *datadriven_plain(const struct datadriven_command *command,
                             unsigned i);
/* Is there a plain word `word`? */
bool datadriven_has(const struct datadriven_command *command, const char *word);
/* Splits "1,2,3" into out[0 .. max); returns how many. Ends the process likewise. */
unsigned datadriven_list(const struct datadriven_command *command,
                         const char *text, uint64_t *out, unsigned max);
/* Prints file, line and message to stderr, and exits with 2. */
void datadriven_fail(const struct datadriven_command *command,
                     const char *message) __attribute__((noreturn));

#endif
