#include "trace/qr.h"

/* Sections and tables are those of ISO/IEC 18004:2015. */
#define MODE_ALPHANUMERIC 2u
#define MODE_BITS 4u
#define LEVEL_M 0u
#define FINDER_SIDE 8u /* with its separator */
#define TIMING 6u      /* row and column of the timing patterns */
#define MASKS 8u

/* Table 9: error correction code words of a block, and blocks, at level M. */
static const uint8_t block_checks[QR_MAX_VERSION] = {10, 16, 26, 18, 24, 16, 18, 22, 22,
                                                     26, 30, 22, 22, 24, 24, 28, 28, 26,
                                                     26, 26, 26, 28, 28, 28, 28};
static const uint8_t block_counts[QR_MAX_VERSION] = {
    1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16, 17, 17, 18, 20, 21};

unsigned qr_side(unsigned version) {
    return 17 + 4 * version;
}

/* Annex E: how many alignment patterns lie in a row, and where the number `index` begins. */
static unsigned alignment_count(unsigned version) {
    return version == 1 ? 0 : version / 7 + 2;
}

static unsigned alignment_centre(unsigned version, unsigned index) {
    unsigned count = alignment_count(version);
    unsigned step = (version * 4 + count * 2 + 1) / (count * 2 - 2) * 2;
    return index == 0 ? TIMING : qr_side(version) - 7 - (count - 1 - index) * step;
}

/* All modules but those of the patterns of functions, in code words. */
static size_t all_words(unsigned version) {
    size_t side = qr_side(version);
    size_t count = alignment_count(version);
    size_t modules = side * side - 3 * FINDER_SIDE * FINDER_SIDE - 2 * 15 - 1;
    modules -= 2 * (side - 2 * FINDER_SIDE); /* timing */
    if (count > 0) {
        modules -= (count * count - 3) * 25 - 2 * (count - 2) * 5;
    }
    return (modules - (version >= 7 ? 36 : 0)) / 8;
}

static size_t data_words(unsigned version) {
    return all_words(version) - (size_t)block_checks[version - 1] * block_counts[version - 1];
}

static unsigned count_bits(unsigned version) {
    return version < 10 ? 9 : 11;
}

size_t qr_capacity(unsigned version) {
    size_t bits = data_words(version) * 8 - MODE_BITS - count_bits(version);
    return bits / 11 * 2 + (bits % 11 >= 6 ? 1 : 0);
}

bool qr_is_dark(const struct qr *qr, unsigned x, unsigned y) {
    size_t at = (size_t)y * qr->side + x;
    return (qr->dark[at / 8] >> (at % 8) & 1) != 0;
}

static void set(struct qr *qr, unsigned x, unsigned y, bool dark) {
    size_t at = (size_t)y * qr->side + x;
    uint8_t bit = (uint8_t)(1u << (at % 8));
    qr->dark[at / 8] = (uint8_t)(dark ? qr->dark[at / 8] | bit : qr->dark[at / 8] & ~bit);
}

/* Bits of the data, most significant first. */
struct bits {
    uint8_t *bytes;
    size_t count;
};

static void put(struct bits *bits, unsigned value, unsigned width) {
    while (width-- > 0) {
        if ((value >> width & 1) != 0) {
            bits->bytes[bits->count / 8] |= (uint8_t)(0x80u >> (bits->count % 8));
        }
        bits->count++;
    }
}

/* Table 5. 45: none of the mode. */
static unsigned value_of(char character) {
    static const char others[] = " $%*+-./:";
    if (character >= '0' && character <= '9') {
        return (unsigned)(character - '0');
    }
    if (character >= 'A' && character <= 'Z') {
        return (unsigned)(character - 'A') + 10;
    }
    for (unsigned i = 0; others[i] != '\0'; i++) {
        if (others[i] == character) {
            return 36 + i;
        }
    }
    return 45;
}

static bool encode(struct qr *qr, size_t count) {
    const char *text = qr->text;
    struct bits bits = {qr->data, 0};
    size_t words = data_words(qr->version);
    put(&bits, MODE_ALPHANUMERIC, MODE_BITS);
    put(&bits, (unsigned)count, count_bits(qr->version));
    for (size_t i = 0; i < count; i += 2) {
        unsigned first = value_of(text[i]);
        unsigned second = i + 1 < count ? value_of(text[i + 1]) : 0;
        if (first == 45 || second == 45) {
            return false;
        }
        if (i + 1 < count) {
            put(&bits, first * 45 + second, 11);
        } else {
            put(&bits, first, 6);
        }
    }
    /* The terminator is zeros, as far as there is room; then whole pad words (7.4.10). */
    for (size_t at = (bits.count + 4 + 7) / 8, pad = 0; at < words; at++, pad++) {
        qr->data[at] = pad % 2 == 0 ? 0xec : 0x11;
    }
    return true;
}

/* In the field of 256 elements over 100011101b (7.5.2). */
static uint8_t product(uint8_t left, uint8_t right) {
    unsigned result = 0;
    for (unsigned bit = 8; bit-- > 0;) {
        result = (result << 1) ^ ((result >> 7) * 0x11du);
        result ^= (((unsigned)right >> bit) & 1u) * left;
    }
    return (uint8_t)result;
}

/* The polynomial that is the product of (x - 2^i), without its first coefficient, which is 1. */
static void generator(uint8_t *coefficients_ret, unsigned degree) {
    uint8_t root = 1;
    __builtin_memset(coefficients_ret, 0, degree);
    coefficients_ret[degree - 1] = 1;
    for (unsigned i = 0; i < degree; i++) {
        for (unsigned j = 0; j < degree; j++) {
            coefficients_ret[j] = product(coefficients_ret[j], root);
            if (j + 1 < degree) {
                coefficients_ret[j] ^= coefficients_ret[j + 1];
            }
        }
        root = product(root, 2);
    }
}

/* Checks of each block, and all of it interleaved (7.6). The last blocks are one word longer. */
static void interleave(struct qr *qr) {
    unsigned blocks = block_counts[qr->version - 1];
    unsigned checks = block_checks[qr->version - 1];
    size_t words = data_words(qr->version);
    size_t shorter = words / blocks;
    size_t first_long = blocks - words % blocks;
    uint8_t divisor[30];
    const uint8_t *data = qr->data;
    generator(divisor, checks);
    for (size_t block = 0; block < blocks; block++) {
        size_t count = shorter + (block >= first_long ? 1 : 0);
        uint8_t rest[30] = {0};
        for (size_t i = 0; i < count; i++) {
            uint8_t factor = data[i] ^ rest[0];
            size_t at = i < shorter ? i * blocks + block : shorter * blocks + block - first_long;
            qr->words[at] = data[i];
            for (unsigned j = 0; j < checks; j++) {
                rest[j] =
                    (uint8_t)((j + 1 < checks ? rest[j + 1] : 0) ^ product(divisor[j], factor));
            }
        }
        for (size_t j = 0; j < checks; j++) {
            qr->words[words + j * blocks + block] = rest[j];
        }
        data += count;
    }
}

static unsigned distance(unsigned left, unsigned right) {
    return left > right ? left - right : right - left;
}

static unsigned larger(unsigned left, unsigned right) {
    return left > right ? left : right;
}

/* Of an alignment pattern at column x and row y: 0 to 2, its ring; 3: none. */
static unsigned alignment_ring(unsigned version, unsigned x, unsigned y) {
    unsigned count = alignment_count(version);
    for (unsigned i = 0; i < count; i++) {
        for (unsigned j = 0; j < count; j++) {
            unsigned ring = larger(distance(x, alignment_centre(version, i)),
                                   distance(y, alignment_centre(version, j)));
            bool in_corner =
                (i == 0 && j == 0) || (i == 0 && j == count - 1) || (i == count - 1 && j == 0);
            if (!in_corner && ring <= 2) {
                return ring;
            }
        }
    }
    return 3;
}

/* Whether a module is none of the data's; its colour, but for format and version. */
static bool is_function(unsigned version, unsigned x, unsigned y, bool *dark_ret) {
    unsigned side = qr_side(version);
    unsigned centre_x = x < side / 2 ? 3 : side - 4;
    unsigned centre_y = y < side / 2 ? 3 : side - 4;
    unsigned ring = larger(distance(x, centre_x), distance(y, centre_y));
    *dark_ret = false;
    if (ring <= 4 && (centre_x == 3 || centre_y == 3)) {
        *dark_ret = ring != 2 && ring != 4;
        return true;
    }
    /* Format beside the finders, with the dark module; version above and beside two of them. */
    if ((y == 8 && (x <= 8 || x >= side - 8)) || (x == 8 && (y <= 8 || y >= side - 8))) {
        *dark_ret = (x == TIMING || y == TIMING);
        return true;
    }
    if (version >= 7 &&
        ((x < 6 && y >= side - 11 && y < side - 8) || (y < 6 && x >= side - 11 && x < side - 8))) {
        return true;
    }
    if ((ring = alignment_ring(version, x, y)) < 3) {
        *dark_ret = ring != 1;
        return true;
    }
    *dark_ret = (x == TIMING && y % 2 == 0) || (y == TIMING && x % 2 == 0);
    return x == TIMING || y == TIMING;
}

/* Table 10. */
static bool is_masked(unsigned mask, unsigned x, unsigned y) {
    switch (mask) {
    case 0:
        return (x + y) % 2 == 0;
    case 1:
        return y % 2 == 0;
    case 2:
        return x % 3 == 0;
    case 3:
        return (x + y) % 3 == 0;
    case 4:
        return (x / 3 + y / 2) % 2 == 0;
    case 5:
        return x * y % 2 + x * y % 3 == 0;
    case 6:
        return (x * y % 2 + x * y % 3) % 2 == 0;
    default:
        return ((x + y) % 2 + x * y % 3) % 2 == 0;
    }
}

static unsigned with_remainder(unsigned value, unsigned width, unsigned divisor) {
    unsigned rest = value;
    for (unsigned i = 0; i < width; i++) {
        rest = (rest << 1) ^ ((rest >> (width - 1) & 1) * divisor);
    }
    return value << width | (rest & ((1u << width) - 1));
}

/* 7.9 and 7.10. */
static void place_format(struct qr *qr, unsigned mask) {
    unsigned format = with_remainder(LEVEL_M << 3 | mask, 10, 0x537) ^ 0x5412;
    unsigned side = qr->side;
    for (unsigned i = 0; i < 15; i++) {
        bool dark = (format >> i & 1) != 0;
        unsigned down = i < 6 ? i : i < 8 ? i + 1 : side - 15 + i;
        unsigned left = i < 8 ? side - 1 - i : i == 8 ? 7 : 14 - i;
        set(qr, 8, down, dark);
        set(qr, left, 8, dark);
    }
    set(qr, 8, side - 8, true);
    if (qr->version >= 7) {
        unsigned version = with_remainder(qr->version, 12, 0x1f25);
        for (unsigned i = 0; i < 18; i++) {
            bool dark = (version >> i & 1) != 0;
            set(qr, i / 3, side - 11 + i % 3, dark);
            set(qr, side - 11 + i % 3, i / 3, dark);
        }
    }
}

/* Two columns at a time, from the right, up and down in turn (7.7.3). */
static void place(struct qr *qr) {
    size_t bit = 0;
    size_t bits = all_words(qr->version) * 8;
    for (unsigned y = 0; y < qr->side; y++) { /* the one column that has no data */
        bool dark;
        (void)is_function(qr->version, TIMING, y, &dark);
        set(qr, TIMING, y, dark);
    }
    for (unsigned right = qr->side - 1; right < qr->side; right -= 2) {
        right -= right == TIMING ? 1 : 0;
        bool upward = ((right + 1) & 2) == 0;
        for (unsigned i = 0; i < 2 * qr->side; i++) {
            unsigned x = right - i % 2;
            unsigned y = upward ? qr->side - 1 - i / 2 : i / 2;
            bool dark;
            if (!is_function(qr->version, x, y, &dark)) {
                dark = bit < bits && (qr->words[bit / 8] >> (7 - bit % 8) & 1) != 0;
                bit++;
            }
            set(qr, x, y, dark);
        }
    }
}

static void apply_mask(struct qr *qr, unsigned mask) {
    for (unsigned y = 0; y < qr->side; y++) {
        for (unsigned x = 0; x < qr->side; x++) {
            bool dark;
            if (is_masked(mask, x, y) && !is_function(qr->version, x, y, &dark)) {
                set(qr, x, y, !qr_is_dark(qr, x, y));
            }
        }
    }
}

/* Of one row or column: runs of five and more, and what looks like a finder (7.8.3, N1 and N3). */
static unsigned line_penalty(const struct qr *qr, unsigned line, bool is_row) {
    unsigned penalty = 0, run = 0, last = 0;
    bool before = false;
    for (unsigned i = 0; i < qr->side; i++) {
        bool dark = is_row ? qr_is_dark(qr, i, line) : qr_is_dark(qr, line, i);
        run = i > 0 && dark == before ? run + 1 : 1;
        penalty += run == 5 ? 3 : run > 5 ? 1 : 0;
        last = (last << 1 | dark) & 0x7ff;
        penalty += i >= 10 && (last == 0x05d || last == 0x5d0) ? 40 : 0;
        before = dark;
    }
    return penalty;
}

static unsigned penalty_of(const struct qr *qr) {
    unsigned penalty = 0, dark = 0, all = qr->side * qr->side;
    for (unsigned y = 0; y < qr->side; y++) {
        penalty += line_penalty(qr, y, true) + line_penalty(qr, y, false);
        for (unsigned x = 0; x < qr->side; x++) {
            bool here = qr_is_dark(qr, x, y);
            dark += here;
            if (x > 0 && y > 0 && here == qr_is_dark(qr, x - 1, y) &&
                here == qr_is_dark(qr, x, y - 1) && here == qr_is_dark(qr, x - 1, y - 1)) {
                penalty += 3;
            }
        }
    }
    return penalty + distance(dark * 20, all * 10) / all * 10;
}

bool qr_make(struct qr *qr_ret, unsigned version, size_t count) {
    unsigned best = 0, least = ~0u;
    __builtin_memset(qr_ret->dark, 0, sizeof(qr_ret->dark));
    __builtin_memset(qr_ret->words, 0, sizeof(qr_ret->words));
    __builtin_memset(qr_ret->data, 0, sizeof(qr_ret->data));
    qr_ret->version = version;
    qr_ret->side = qr_side(version);
    if (count > qr_capacity(version) || !encode(qr_ret, count)) {
        return false;
    }
    interleave(qr_ret);
    place(qr_ret);
    for (unsigned mask = 0; mask < MASKS; mask++) {
        apply_mask(qr_ret, mask);
        place_format(qr_ret, mask);
        unsigned penalty = penalty_of(qr_ret);
        if (penalty < least) {
            least = penalty;
            best = mask;
        }
        apply_mask(qr_ret, mask); /* twice is not at all */
    }
    apply_mask(qr_ret, best);
    place_format(qr_ret, best);
    return true;
}
