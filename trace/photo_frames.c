/* A stream as the texts of codes. */
#include "trace/crc32.h"
#include "trace/photo.h"

#define FRAME_VERSION 1u
#define FRAME_HEAD 7u /* version, stream's CRC-32, number, count */
#define FRAME_TAIL 4u /* CRC-32 of all before it */
#define FRAME_MARK "C3S:"

/* Bytes of a frame's stream: two bytes are three characters (RFC 9285). */
static size_t room_of(size_t characters) {
    size_t left = characters - (sizeof(FRAME_MARK) - 1);
    size_t bytes = left / 3 * 2 + (left % 3 == 2 ? 1 : 0);
    return bytes > FRAME_HEAD + FRAME_TAIL ? bytes - FRAME_HEAD - FRAME_TAIL : 0;
}

unsigned photo_frames(const struct photo *photo, size_t characters) {
    size_t room = characters >= sizeof(FRAME_MARK) ? room_of(characters) : 0;
    size_t frames = room == 0 ? 0 : (photo_size(photo) + room - 1) / room;
    return frames <= 255 ? (unsigned)frames : 0;
}

static uint32_t stream_crc(const struct photo *photo) {
    uint32_t crc = 0;
    for (size_t at = 0; at < photo_size(photo); at++) {
        uint8_t byte;
        photo_read(photo, at, &byte, 1);
        crc = crc32_update(crc, &byte, 1);
    }
    return crc;
}

/* The bytes of a frame one after another, two of them three characters. */
struct speller {
    char *text;
    size_t length;
    unsigned held; /* a byte that waits for its second; 256: none */
    uint32_t crc;
};

static void spell_value(struct speller *speller, unsigned value, unsigned count) {
    static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
    for (unsigned i = 0; i < count; i++) {
        speller->text[speller->length++] = alphabet[value % 45];
        value /= 45;
    }
}

static void spell(struct speller *speller, uint8_t byte) {
    speller->crc = crc32_update(speller->crc, &byte, 1);
    if (speller->held > 255) {
        speller->held = byte;
        return;
    }
    spell_value(speller, speller->held << 8 | byte, 3);
    speller->held = 256;
}

static void spell_word(struct speller *speller, uint32_t word) {
    for (unsigned shift = 0; shift < 32; shift += 8) {
        spell(speller, (uint8_t)(word >> shift));
    }
}

size_t photo_frame(const struct photo *photo, size_t characters, unsigned number, char *text_ret) {
    size_t room = room_of(characters), size = photo_size(photo);
    size_t first = number * room;
    struct speller speller = {text_ret, 0, 256, 0};
    for (const char *mark = FRAME_MARK; *mark != '\0'; mark++) {
        text_ret[speller.length++] = *mark;
    }
    spell(&speller, FRAME_VERSION);
    spell_word(&speller, stream_crc(photo));
    spell(&speller, (uint8_t)number);
    spell(&speller, (uint8_t)photo_frames(photo, characters));
    for (size_t at = first; at < size && at < first + room; at++) {
        uint8_t byte;
        photo_read(photo, at, &byte, 1);
        spell(&speller, byte);
    }
    spell_word(&speller, speller.crc);
    if (speller.held <= 255) {
        spell_value(&speller, speller.held, 2);
    }
    return speller.length;
}
