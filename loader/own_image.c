#include "own_image.h"

#include "kernel/elf64.h"
#include "trace/message.h"

#define BUILD_ID_BYTES 20u
#define NOTE_GNU_BUILD_ID 3u

struct build_id_note {
    struct elf64_note head;
    char owner[4];
    uint8_t id[BUILD_ID_BYTES];
};

const char *own_image_build_id(char digits_ret[OWN_BUILD_ID_CHARS]) {
    struct build_id_note note;
    __builtin_memcpy(&note, own_build_id_note, sizeof(note));
    digits_ret[0] = '\0';
    if (note.head.name_bytes != sizeof(note.owner) || note.head.type != NOTE_GNU_BUILD_ID ||
        note.head.description_bytes != BUILD_ID_BYTES) {
        return digits_ret;
    }
    message_digits(digits_ret, note.id, BUILD_ID_BYTES);
    return digits_ret;
}
