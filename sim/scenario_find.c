#include "sim/scenario_find.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_BYTES 64u
#define SUFFIX     ".scn"

uint32_t scenario_distance(const char *a, const char *b)
{
    uint32_t row[NAME_BYTES + 1];
    size_t bn = strlen(b);
    ASSERT(bn <= NAME_BYTES);
    for (uint32_t j = 0; j <= bn; j++) {
        row[j] = j;
    }
    for (uint32_t i = 0; a[i] != 0; i++) {
        uint32_t corner = row[0];
        row[0] = i + 1;
        for (uint32_t j = 0; j < bn; j++) {
            uint32_t change = corner + (a[i] != b[j]);
            uint32_t grow = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            corner = row[j + 1];
            row[j + 1] = change < grow ? change : grow;
        }
    }
    return row[bn];
}

/* PREFIX/bin/baton-sim has them in PREFIX/share/baton/scenarios; build/bin/baton-sim in sim/scenarios. */
bool scenario_folder(char out[SCENARIO_PATH])
{
    static const char *const places[] = {"/../share/baton/scenarios",
                                         "/../../sim/scenarios"};
    char self[SCENARIO_PATH];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) {
        return false;
    }
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (slash == NULL) {
        return false;
    }
    *slash = 0;
    for (size_t i = 0; i < countof(places); i++) {
        int bytes = snprintf(out, SCENARIO_PATH, "%s%s", self, places[i]);
        if (bytes > 0 && (uint32_t)bytes < SCENARIO_PATH &&
            access(out, R_OK | X_OK) == 0) {
            return true;
        }
    }
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Names without the suffix, in order; to be freed. */
static char (*names(size_t *out_n))[NAME_BYTES]
{
    char folder[SCENARIO_PATH];
    char(*found)[NAME_BYTES] = calloc(1024, sizeof *found);
    ASSERT(found != NULL);
    *out_n = 0;
    DIR *dir = scenario_folder(folder) ? opendir(folder) : NULL;
    for (struct dirent *e = dir == NULL ? NULL : readdir(dir);
         e != NULL && *out_n < 1024; e = readdir(dir)) {
        size_t n = strlen(e->d_name);
        if (n > 4 && n - 4 < NAME_BYTES &&
            strcmp(e->d_name + n - 4, SUFFIX) == 0) {
            memcpy(found[(*out_n)++], e->d_name, n - 4);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    qsort(found, *out_n, sizeof *found, by_name);
    return found;
}

static void first_comment(const char *path, char *out, size_t out_bytes)
{
    FILE *file = fopen(path, "r");
    char line[400] = "";
    out[0] = 0;
    if (file == NULL) {
        return;
    }
    if (fgets(line, sizeof line, file) != NULL && line[0] == '#') {
        line[strcspn(line, "\n")] = 0;
        (void)snprintf(out, out_bytes, "%s", line + 1 + (line[1] == ' '));
    }
    (void)fclose(file);
}

void scenario_each(void (*each)(void *arg, const char *name,
                                const char *comment),
                   void *arg)
{
    char folder[SCENARIO_PATH];
    char path[SCENARIO_PATH + NAME_BYTES + 8];
    char comment[400];
    size_t n = 0;
    char(*all)[NAME_BYTES] = names(&n);
    bool any = scenario_folder(folder);
    for (size_t i = 0; any && i < n; i++) {
        (void)snprintf(path, sizeof path, "%s/%s" SUFFIX, folder, all[i]);
        first_comment(path, comment, sizeof comment);
        each(arg, all[i], comment);
    }
    free(all);
}

bool scenario_find(const char *name, char out[SCENARIO_PATH])
{
    char folder[SCENARIO_PATH];
    size_t bytes = strlen(name);
    bool suffix = bytes > 4 && strcmp(name + bytes - 4, SUFFIX) == 0;
    if (strchr(name, '/') != NULL || suffix) {
        (void)snprintf(out, SCENARIO_PATH, "%s", name);
        return true;
    }
    size_t n = 0;
    char(*all)[NAME_BYTES] = names(&n);
    const char *nearest = NULL;
    uint32_t best = 4;
    bool found = false;
    for (size_t i = 0; i < n && bytes < NAME_BYTES; i++) {
        uint32_t d = scenario_distance(all[i], name);
        if (d < best) {
            best = d;
            nearest = all[i];
        }
    }
    found = best == 0 && scenario_folder(folder);
    int used =
        found ? snprintf(out, SCENARIO_PATH, "%s/%s" SUFFIX, folder, name)
              : snprintf(out, SCENARIO_PATH,
                         "there is no scenario \"%.64s\"%s%s%s; "
                         "baton-sim list names them, and a path works, too",
                         name, nearest == NULL ? "" : ": did you mean \"",
                         nearest == NULL ? "" : nearest,
                         nearest == NULL ? "" : "\"?");
    free(all);
    return found && used > 0 && (uint32_t)used < SCENARIO_PATH;
}
