/* replay_main.c - runs a fuzz target over files, as a test: libFuzzer's part without libFuzzer.
 *
 * usage: x_fuzz FILE... Each file is one input; the empty input comes first. The file's name is printed before it runs,
 * so that the last line of a crash names its input. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The whole file in exactly its size of heap, so that a read past its end is seen; NULL with a message otherwise. */
static uint8_t *read_file(const char *path, size_t *out_size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return NULL;
    }
    uint8_t *data = NULL;
    if (fseek(file, 0, SEEK_END) == 0) {
        long size = ftell(file);
        rewind(file);
        if (size >= 0) {
            data = malloc((size_t)size + (size == 0));
        }
        if (data != NULL &&
            fread(data, 1, (size_t)size, file) != (size_t)size) {
            free(data);
            data = NULL;
        }
        *out_size = (size_t)size;
    }
    if (data == NULL) {
        (void)fprintf(stderr, "%s: can't be read\n", path);
    }
    (void)fclose(file);
    return data;
}

int main(int argc, char **argv)
{
    const uint8_t nothing = 0;
    (void)LLVMFuzzerTestOneInput(&nothing, 0);
    for (int i = 1; i < argc; i++) {
        (void)printf("replay %s\n", argv[i]);
        (void)fflush(stdout);
        size_t size = 0;
        uint8_t *data = read_file(argv[i], &size);
        if (data == NULL) {
            return 1;
        }
        (void)LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    (void)printf("replayed %d inputs\n", argc);
    return 0;
}
