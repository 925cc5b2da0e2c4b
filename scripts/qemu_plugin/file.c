#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    HEADER_BYTES = 4096,
    GROWTH = 1 << 20,
    HALVES_BEFORE_TOLD = 1 << 10, /* pages, as long as nobody has said how much may be kept */
};

static const struct {
    uint64_t most;
    uint64_t bytes;
    uint32_t flag;
} sizes[SECTIONS] = {
    [SECTION_INSTRUCTIONS] = {MOST_INSTRUCTIONS, sizeof(struct instruction), FLAG_FULL},
    [SECTION_CALLS] = {MOST_CALLS, sizeof(struct call), FLAG_CALLS},
    [SECTION_STORES] = {MOST_STORES, sizeof(struct store), FLAG_FULL},
    [SECTION_MOMENTS] = {MOST_MOMENTS, sizeof(struct moment), 0},
    [SECTION_EVENTS] = {MOST_EVENTS, sizeof(struct event), 0},
    [SECTION_BLOCKS] = {MOST_BLOCKS, sizeof(struct block), FLAG_BLOCKS},
    [SECTION_TRAILS] = {MOST_CPUS, sizeof(struct trail), FLAG_CPUS},
    [SECTION_PAGES] = {MOST_PAGES, sizeof(struct page), FLAG_FULL},
    [SECTION_SLOTS] = {MOST_PAGES, sizeof(struct slots), FLAG_FULL},
    [SECTION_VALUES] = {MOST_PAGES, sizeof(struct values), 0},
    [SECTION_HALVES] = {MOST_PAGES, sizeof(struct halves), FLAG_HALVES},
};

struct header *file_header;
uint8_t *file_sections[SECTIONS];
static uint64_t has_room[SECTIONS]; /* bytes of each section that the disk has */
static int descriptor = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t rounded(uint64_t bytes) {
    return (bytes + GROWTH - 1) / GROWTH * GROWTH;
}

bool file_open(const char *path) {
    uint64_t total = GROWTH;
    uint64_t offsets[SECTIONS];
    int i;

    for (i = 0; i < SECTIONS; i++) {
        offsets[i] = total;
        total += rounded(sizes[i].most * sizes[i].bytes);
    }
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0 || ftruncate(descriptor, (off_t)total) != 0 ||
        posix_fallocate(descriptor, 0, HEADER_BYTES) != 0) {
        fprintf(stderr, "cr3scope plugin: %s: %s\n", path, strerror(errno));
        return false;
    }
    uint8_t *mapped =
        mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
    if (mapped == MAP_FAILED) {
        fprintf(stderr, "cr3scope plugin: %s: %s\n", path, strerror(errno));
        return false;
    }
    for (i = 0; i < SECTIONS; i++) {
        file_sections[i] = mapped + offsets[i];
    }
    file_header = (struct header *)(void *)mapped;
    memcpy(file_header->offsets, offsets, sizeof(offsets));
    file_header->version = WRITERS_VERSION;
    file_header->api = CR3SCOPE_API;
    file_header->most_halves = HALVES_BEFORE_TOLD;
    file_header->magic = WRITERS_MAGIC;
    return true;
}

uint32_t file_append(enum section section) {
    const uint64_t count = file_header->counts[section];
    const uint64_t needed = (count + 1) * sizes[section].bytes;

    if (count >= sizes[section].most) {
        file_flag(sizes[section].flag);
        return 0;
    }
    if (needed > has_room[section]) {
        const uint64_t at =
            (uint64_t)(file_sections[section] - (uint8_t *)file_header) + has_room[section];
        const uint64_t more = rounded(needed - has_room[section]);
        /* A page of the mapping for which the disk has no room would end QEMU with SIGBUS. */
        if (posix_fallocate(descriptor, (off_t)at, (off_t)more) != 0) {
            file_flag(sizes[section].flag);
            return 0;
        }
        has_room[section] += more;
    }
    __atomic_store_n(&file_header->counts[section], count + 1, __ATOMIC_RELEASE);
    return (uint32_t)(count + 1);
}

void file_lock(void) {
    pthread_mutex_lock(&lock);
}

void file_unlock(void) {
    pthread_mutex_unlock(&lock);
}

void file_flag(uint32_t flag) {
    __atomic_fetch_or(&file_header->flags, flag, __ATOMIC_RELAXED);
}
