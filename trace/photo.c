#include "trace/photo.h"

#include "photo_words.h"
#include "trace/trace.h"

#define STREAM_VERSION 1u
/* How a value is written. */
#define VALUE_NUMBER 0x00u  /* and the count of its bytes, low first */
#define VALUE_FURTHER 0x10u /* the same, added to the number before it in the record */
#define VALUE_WORD 0x20u
#define VALUE_DATA 0x21u
#define VALUE_TEXT 0x22u
#define MOST_TEXT 255u

static const char words[] = PHOTO_WORDS;

struct part {
    const char *bytes;
    size_t count;
};

/* Where a record is packed to. */
struct target {
    uint8_t *bytes;
    size_t used, size;
    bool full;
    uint64_t last; /* number in this record */
};

/* The number of a word; 0: it has none. */
static unsigned word_number(struct part part) {
    unsigned number = 1;
    size_t start = 0;
    for (size_t i = 0; words[i] != '\0'; i++) {
        if (words[i] != ' ') {
            continue;
        }
        size_t same = 0;
        while (i - start == part.count && same < part.count &&
               words[start + same] == part.bytes[same]) {
            same++;
        }
        if (same == part.count && i - start == part.count) {
            return number;
        }
        number++;
        start = i + 1;
    }
    return 0;
}

static void put(struct target *target, unsigned byte) {
    if (target->used == target->size) {
        target->full = true;
        return;
    }
    target->bytes[target->used++] = (uint8_t)byte;
}

static unsigned digit_of(char character) {
    if (character >= '0' && character <= '9') {
        return (unsigned)(character - '0');
    }
    return character >= 'a' && character <= 'f' ? (unsigned)(character - 'a') + 10 : 16;
}

/* As the format writes a number: nothing else can be had again from its value. */
static bool is_number(struct part part, uint64_t *number_ret) {
    uint64_t number = 0;
    if (part.count == 0 || part.count > 16 || (part.bytes[0] == '0' && part.count > 1)) {
        return false;
    }
    for (size_t i = 0; i < part.count; i++) {
        unsigned digit = digit_of(part.bytes[i]);
        if (digit > 15) {
            return false;
        }
        number = number << 4 | digit;
    }
    *number_ret = number;
    return true;
}

static unsigned byte_count(uint64_t number) {
    unsigned count = 0;
    for (; number != 0; number >>= 8) {
        count++;
    }
    return count;
}

static void put_number(struct target *target, uint64_t number) {
    uint64_t further = number - target->last;
    bool is_shorter = byte_count(further) < byte_count(number);
    uint64_t value = is_shorter ? further : number;
    put(target, (is_shorter ? VALUE_FURTHER : VALUE_NUMBER) + byte_count(value));
    for (; value != 0; value >>= 8) {
        put(target, (unsigned)(value & 0xff));
    }
    target->last = number;
}

/* Of base64 (RFC 4648); 64: none. */
static unsigned sextet_of(char character) {
    if (character >= 'A' && character <= 'Z') {
        return (unsigned)(character - 'A');
    }
    if (character >= 'a' && character <= 'z') {
        return (unsigned)(character - 'a') + 26;
    }
    if (character >= '0' && character <= '9') {
        return (unsigned)(character - '0') + 52;
    }
    return character == '+' ? 62 : character == '/' ? 63 : 64;
}

static void put_data(struct target *target, struct part part) {
    size_t characters = part.count;
    while (characters > 0 && part.bytes[characters - 1] == '=') {
        characters--;
    }
    size_t count = characters * 6 / 8;
    unsigned held = 0, bits = 0;
    put(target, VALUE_DATA);
    put(target, count & 0xff);
    put(target, (unsigned)(count >> 8));
    for (size_t i = 0; i < characters; i++) {
        held = (held << 6 | (sextet_of(part.bytes[i]) & 63)) & 0xffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            put(target, held >> bits & 0xff);
        }
    }
}

static void put_value(struct target *target, bool is_data, struct part part) {
    uint64_t number = 0;
    unsigned word = word_number(part);
    if (is_data) {
        put_data(target, part);
    } else if (is_number(part, &number)) {
        put_number(target, number);
    } else if (word != 0) {
        put(target, VALUE_WORD);
        put(target, word);
    } else {
        put(target, VALUE_TEXT);
        put(target, (unsigned)part.count);
        for (size_t i = 0; i < part.count; i++) {
            put(target, (uint8_t)part.bytes[i]);
        }
        target->full = target->full || part.count > MOST_TEXT;
    }
}

/* Cuts off what stands before the next `end`, and the `end` itself. */
static struct part next_part(struct part *rest, char end) {
    struct part part = {rest->bytes, 0};
    while (part.count < rest->count && rest->bytes[part.count] != end) {
        part.count++;
    }
    size_t done = part.count < rest->count ? part.count + 1 : part.count;
    rest->bytes += done;
    rest->count -= done;
    return part;
}

static bool part_is(struct part part, const char *text) {
    size_t i = 0;
    while (i < part.count && text[i] != '\0' && text[i] == part.bytes[i]) {
        i++;
    }
    return i == part.count && text[i] == '\0';
}

/* The keys of a record's fields; 0: more than have room, or one has no number. */
static unsigned keys_of(struct part fields, uint8_t keys_ret[PHOTO_KEYS]) {
    unsigned count = 0;
    __builtin_memset(keys_ret, 0, PHOTO_KEYS);
    while (fields.count > 0) {
        struct part value = next_part(&fields, ' ');
        if (value.count > 0 && value.bytes[0] == '#') {
            break;
        }
        unsigned word = word_number(next_part(&value, '='));
        if (count == PHOTO_KEYS || word == 0) {
            return 0;
        }
        keys_ret[count++] = (uint8_t)word;
    }
    return count;
}

static bool same_keys(const uint8_t *left, const uint8_t *right) {
    for (size_t i = 0; i < PHOTO_KEYS; i++) {
        if (left[i] != right[i]) {
            return false;
        }
    }
    return true;
}

static bool pack(struct photo *photo, struct target *target, unsigned kind, struct part fields) {
    uint8_t keys[PHOTO_KEYS];
    unsigned count = keys_of(fields, keys);
    if (kind == 0 || kind > PHOTO_LAST_KIND || count == 0) {
        return false;
    }
    bool is_like_last = same_keys(keys, photo->shapes[kind]);
    put(target, kind);
    put(target, is_like_last ? 0 : count);
    for (unsigned i = 0; !is_like_last && i < count; i++) {
        put(target, keys[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        struct part value = next_part(&fields, ' ');
        struct part key = next_part(&value, '=');
        put_value(target, part_is(key, "b"), value);
    }
    if (target->full) {
        return false;
    }
    __builtin_memcpy(photo->shapes[kind], keys, sizeof(keys));
    return true;
}

/* Large, and not needed for a verdict: the firmware's memory map and its page tables, what only
 * counts, what the kernel says of its own checks. */
static bool is_left_out(struct photo *photo, struct part kind, struct part fields) {
    static const char kinds[][8] = {"mmap", "end", "close", "section", "check", "summary"};
    bool was_skipped = photo->skips;
    photo->skips = was_skipped && part_is(kind, "d"); /* a dump that is given up has no end */
    if (part_is(kind, "dump")) {
        struct part value = next_part(&fields, ' ');
        (void)next_part(&value, '=');
        photo->skips = part_is(value, "old");
    }
    if (photo->skips || (was_skipped && part_is(kind, "dump-end"))) {
        return true;
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (part_is(kind, kinds[i])) {
            return true;
        }
    }
    return false;
}

void photo_init(struct photo *photo_ret) {
    __builtin_memset(photo_ret, 0, sizeof(*photo_ret));
}

void photo_record(struct photo *photo, const char *line, size_t count) {
    struct part rest = {line, count};
    while (rest.count > 0 &&
           (rest.bytes[rest.count - 1] == '\n' || rest.bytes[rest.count - 1] == '\r')) {
        rest.count--;
    }
    if (!part_is(next_part(&rest, ' '), TRACE_SENTINEL "1")) {
        return;
    }
    (void)next_part(&rest, ' '); /* its number */
    struct part kind = next_part(&rest, ' ');
    struct target target = {photo->bytes, photo->used, PHOTO_BYTES, false, 0};
    if (is_left_out(photo, kind, rest)) {
        return;
    }
    bool is_fault = part_is(kind, "fault") && photo->fault_used == 0;
    if (is_fault) {
        target.bytes = photo->fault;
        target.used = 0;
        target.size = PHOTO_FAULT_BYTES;
    }
    if (!pack(photo, &target, word_number(kind), rest)) {
        photo->lost = photo->lost < UINT16_MAX ? (uint16_t)(photo->lost + 1) : UINT16_MAX;
    } else if (is_fault) {
        photo->fault_used = (uint16_t)target.used;
    } else {
        photo->used = (uint16_t)target.used;
    }
}

size_t photo_size(const struct photo *photo) {
    return PHOTO_HEAD_BYTES + (size_t)photo->fault_used + photo->used;
}

void photo_read(const struct photo *photo, size_t at, uint8_t *bytes_ret, size_t count) {
    const uint8_t head[PHOTO_HEAD_BYTES] = {STREAM_VERSION, (uint8_t)(photo->lost & 0xff),
                                            (uint8_t)(photo->lost >> 8)};
    for (size_t i = 0; i < count; i++, at++) {
        if (at < PHOTO_HEAD_BYTES) {
            bytes_ret[i] = head[at];
        } else if (at < PHOTO_HEAD_BYTES + (size_t)photo->fault_used) {
            bytes_ret[i] = photo->fault[at - PHOTO_HEAD_BYTES];
        } else {
            bytes_ret[i] = photo->bytes[at - PHOTO_HEAD_BYTES - photo->fault_used];
        }
    }
}

bool photo_is_stream(const uint8_t *stream, size_t count) {
    return count >= PHOTO_HEAD_BYTES && stream[0] == STREAM_VERSION &&
           count - PHOTO_HEAD_BYTES <= PHOTO_FAULT_BYTES + PHOTO_BYTES;
}

bool photo_adopt(struct photo *photo_ret, const uint8_t *stream, size_t count) {
    if (!photo_is_stream(stream, count)) {
        return false;
    }
    const uint8_t *records = stream + PHOTO_HEAD_BYTES;
    size_t bytes = count - PHOTO_HEAD_BYTES;
    size_t beyond = bytes > PHOTO_BYTES ? bytes - PHOTO_BYTES : 0; /* goes where a fault's does */
    photo_init(photo_ret);
    photo_ret->lost = (uint16_t)(stream[1] | stream[2] << 8);
    photo_ret->fault_used = (uint16_t)beyond;
    photo_ret->used = (uint16_t)(bytes - beyond);
    __builtin_memcpy(photo_ret->fault, records, beyond);
    __builtin_memcpy(photo_ret->bytes, records + beyond, bytes - beyond);
    return true;
}
