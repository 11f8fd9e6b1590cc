#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/cli_view.h"

#define REFRESH_MS 500

static int verdict(const struct cli *c, const struct view *v)
{
    if (v->reached_n == 0) {
        return cli_fail(c, BATON_NO_QUORUM,
                        "no node answered: is the cluster running, and are "
                        "the endpoints right (--endpoints, BATON_ENDPOINTS)?");
    }
    if (v->leader == 0) {
        return cli_fail(c, BATON_NO_QUORUM,
                        "there is no leader: an election is under way, or "
                        "fewer than half of the nodes are up");
    }
    return CLI_DONE;
}

static int once(struct cli *c)
{
    struct view v;
    view_take(c, c->timeout_ms, &v);
    if (c->json) {
        view_print_json(&v);
    } else {
        view_print(&v, stdout);
    }
    int code = verdict(c, &v);
    /* With --json it's in the object. */
    if (!c->json && view_age(&v).kind != CLI_AGE_UNTOLD) {
        cli_one_view(c, view_age(&v));
    }
    view_free(&v);
    return code;
}

/* The screen's size; a small one if it has none. */
static struct winsize screen(void)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    struct winsize real;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &real) == 0 && real.ws_row > 0 &&
        real.ws_col > 0) {
        size = real;
    }
    return size;
}

/* Line by line over what was there, each cut at the screen's edge: no flicker, no scrolling. */
static void draw(char *text)
{
    struct winsize size = screen();
    (void)fputs("\x1b[H", stdout);
    char *rest = text;
    int rows = 0;
    for (char *line = strsep(&rest, "\n"); line != NULL && rows < size.ws_row;
         line = strsep(&rest, "\n"), rows++) {
        (void)printf("%s%.*s\x1b[K", rows == 0 ? "" : "\n", size.ws_col, line);
    }
    (void)fputs("\x1b[J", stdout);
    (void)fflush(stdout);
}

static void show(struct cli *c, bool screen_too)
{
    struct view v;
    view_take(c, REFRESH_MS, &v);
    if (c->json) {
        view_print_json(&v);
        view_free(&v);
        return;
    }
    char *text = NULL;
    size_t n = 0;
    FILE *memory = open_memstream(&text, &n);
    ASSERT(memory != NULL);
    view_print(&v, memory);
    if (v.reached_n == 0) {
        (void)fprintf(memory, "\nno node answers\n");
    }
    if (view_age(&v).kind != CLI_AGE_UNTOLD) {
        (void)fprintf(memory, "\n%s\n", cli_one_view_text(view_age(&v)));
    }
    (void)fprintf(memory, "%s",
                  screen_too ? "\nCtrl-C ends this view\n" : "\n");
    (void)fclose(memory);
    if (screen_too) {
        draw(text);
    } else {
        (void)fputs(text, stdout);
        (void)fflush(stdout);
    }
    free(text);
    view_free(&v);
}

int cli_status_live(struct cli *c)
{
    cli_signals();
    int rc = cli_connect(c, NULL);
    if (rc != CLI_DONE) {
        return rc;
    }
    bool tty = isatty(STDOUT_FILENO) != 0 && !c->json;
    if (tty) {
        /* The other screen, and no cursor: both are put back below. */
        (void)fputs("\x1b[?1049h\x1b[?25l\x1b[2J", stdout);
    }
    while (cli_signalled() == 0 && !ferror(stdout)) {
        show(c, tty);
        struct pollfd p = {.fd = cli_signal_fd(), .events = POLLIN};
        (void)poll(&p, 1, REFRESH_MS);
    }
    if (tty) {
        (void)fputs("\x1b[?25h\x1b[?1049l", stdout);
        (void)fflush(stdout);
    }
    return CLI_DONE;
}

int cli_status(struct cli *c)
{
    bool live = false;
    const struct cli_option options[] = {{"--live", CLI_FLAG, &live},
                                         {NULL, CLI_FLAG, NULL}};
    const char *args[CLI_POSITIONAL_MAX];
    int n = 0;
    int rc = cli_parse(c, options, args, &n);
    if (rc != CLI_DONE) {
        return rc;
    }
    if (n > 0) {
        return cli_surplus(c, args[0]);
    }
    if (live) {
        return cli_status_live(c);
    }
    rc = cli_connect(c, NULL);
    return rc == CLI_DONE ? once(c) : rc;
}
