/**
 * Runs a target without libFuzzer: on each file that is named; or, without names, on inputs from
 * standard input (32 bits of length, then the bytes), and answers each on standard output with what
 * the target was given and the trace that it wrote, each behind 32 bits of its length.
 */
#include <errno.h>
#include <string.h>

#include "target.h"

#define MOST_BYTES (16u << 20)

static void put(const void *bytes, size_t count) {
    uint32_t length = (uint32_t)count;
    if (fwrite(&length, sizeof(length), 1, stdout) != 1 ||
        fwrite(bytes, 1, count, stdout) != count) {
        exit(1);
    }
}

static void answer(const void *given, size_t given_bytes, const void *trace, size_t trace_bytes) {
    put(given, given_bytes);
    put(trace, trace_bytes);
    fflush(stdout);
}

/* From a block of exactly the input's size, so that the sanitizer sees a read beyond it. */
static void run(FILE *file, size_t count, const char *name) {
    uint8_t *bytes = malloc(count);
    if (bytes == NULL || fread(bytes, 1, count, file) != count) {
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
        exit(1);
    }
    (void)LLVMFuzzerTestOneInput(bytes, count);
    free(bytes);
}

static void run_file(const char *name) {
    FILE *file = fopen(name, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
        exit(1);
    }
    long size = ftell(file);
    rewind(file);
    if (size > 0) {
        run(file, (size_t)size, name);
    }
    fclose(file);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        run_file(argv[i]);
    }
    uint32_t length;
    if (argc > 1) {
        return 0;
    }
    target_listener = answer;
    while (fread(&length, sizeof(length), 1, stdin) == 1) {
        if (length > MOST_BYTES) {
            fprintf(stderr, "an input of %u bytes\n", length);
            return 1;
        }
        run(stdin, length, "standard input");
    }
    return 0;
}
