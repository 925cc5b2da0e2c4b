#include "config.h"

#include "text.h"

#define MOST_PHYS (UINT64_C(1) << 52)
#define MOST_STRIDE 8u
#define UTF8_MARK "\xef\xbb\xbf" /* what some editors put before a text */
#define MOST_QUOTED 60u          /* bytes of a line that a refusal repeats */

/* One value, not NUL-terminated. */
struct value {
    const char *bytes;
    size_t count;
};

void config_defaults(struct config *config_ret) {
    *config_ret = (struct config){
        .trace_file = CONFIG_DEFAULT_TRACE_FILE,
        .safe_idt = true,
        .identity_level = 2,
        .sinks = CONFIG_SINK_UART | CONFIG_SINK_FILE,
        .uart = {.base = UART_COM1},
        .debugcon_port = DEBUGCON_PORT,
    };
}

static bool value_is(struct value value, const char *text) {
    return text_equals(value.bytes, value.count, text);
}

static bool set_text(char *text_ret, size_t size, struct value value) {
    if (value.count >= size) {
        return false;
    }
    __builtin_memcpy(text_ret, value.bytes, value.count);
    text_ret[value.count] = '\0';
    return true;
}

/* One of two words. */
static bool set_choice(bool *choice_ret, struct value value, const char *no, const char *yes) {
    if (value_is(value, no) || value_is(value, yes)) {
        *choice_ret = value_is(value, yes);
        return true;
    }
    return false;
}

static bool set_number(uint64_t *number_ret, struct value value, unsigned base, uint64_t max) {
    uint64_t number = 0;
    for (size_t i = 0; i < value.count; i++) {
        unsigned digit = (unsigned)(value.bytes[i] - '0');
        if (base == 16 && (value.bytes[i] | 0x20) >= 'a' && (value.bytes[i] | 0x20) <= 'f') {
            digit = (unsigned)((value.bytes[i] | 0x20) - 'a') + 10;
        }
        if (digit >= base || digit > max || number > (max - digit) / base) {
            return false;
        }
        number = number * base + digit;
    }
    if (value.count == 0) {
        return false;
    }
    *number_ret = number;
    return true;
}

static bool set_page_size(unsigned *level_ret, struct value value) {
    static const char sizes[][3] = {"4k", "2m", "1g"};
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (value_is(value, sizes[i])) {
            *level_ret = i + 1;
            return true;
        }
    }
    return false;
}

static bool set_sinks(unsigned *sinks_ret, struct value value) {
    unsigned sinks = 0;
    size_t start = 0;
    for (size_t i = 0; i <= value.count; i++) {
        if (i < value.count && value.bytes[i] != ',') {
            continue;
        }
        struct value name = {value.bytes + start, i - start};
        if (value_is(name, "uart")) {
            sinks |= CONFIG_SINK_UART;
        } else if (value_is(name, "debugcon")) {
            sinks |= CONFIG_SINK_DEBUGCON;
        } else if (value_is(name, "file")) {
            sinks |= CONFIG_SINK_FILE;
        } else if (value_is(name, "screen")) {
            sinks |= CONFIG_SINK_SCREEN;
        } else {
            return false;
        }
        start = i + 1;
    }
    *sinks_ret = sinks;
    return true;
}

/* Cuts at colons. The number of parts; 0 if there are more than `most`. */
static size_t cut(struct value value, size_t most, struct value *parts_ret) {
    size_t part = 0;
    parts_ret[0] = (struct value){value.bytes, 0};
    for (size_t i = 0; i < value.count; i++) {
        if (value.bytes[i] != ':') {
            parts_ret[part].count++;
        } else if (++part < most) {
            parts_ret[part] = (struct value){value.bytes + i + 1, 0};
        } else {
            return 0;
        }
    }
    return part + 1;
}

static bool set_hex(uint64_t *number_ret, struct value value, uint64_t max) {
    if (value.count > 2 && value.bytes[0] == '0' && value.bytes[1] == 'x') {
        value = (struct value){value.bytes + 2, value.count - 2};
    }
    return set_number(number_ret, value, 16, max);
}

static bool set_port(uint16_t *port_ret, struct value value) {
    uint64_t number;
    if (!set_hex(&number, value, 0xffff) || number == 0) {
        return false;
    }
    *port_ret = (uint16_t)number;
    return true;
}

/* io:PORT, or mmio:ADDRESS[:STRIDE[:WIDTH]], the first in hexadecimal. */
static bool set_place(struct uart_place *place_ret, struct value value) {
    struct value parts[4];
    size_t count = cut(value, sizeof(parts) / sizeof(parts[0]), parts);
    uint64_t stride = 1;
    uint64_t width;
    uint64_t base;
    if (count == 2 && value_is(parts[0], "io") && set_hex(&base, parts[1], 0xfff8) && base != 0) {
        *place_ret = (struct uart_place){.base = base};
        return true;
    }
    if (count < 2 || !value_is(parts[0], "mmio") ||
        !set_hex(&base, parts[1], MOST_PHYS - 8 * MOST_STRIDE) || base == 0 ||
        (count > 2 && !set_number(&stride, parts[2], 10, MOST_STRIDE))) {
        return false;
    }
    width = stride == 4 ? 4 : 1;
    if ((count > 3 && !set_number(&width, parts[3], 10, 4)) || stride == 0 ||
        (stride & (stride - 1)) != 0 || (width != 1 && width != 4) || width > stride ||
        base % width != 0) {
        return false;
    }
    *place_ret =
        (struct uart_place){.base = base, .stride = (uint8_t)stride, .width = (uint8_t)width};
    return true;
}

static bool set_serial(struct config *config, struct value value) {
    static const char *const words[] = {[CONFIG_SERIAL_AUTO] = "auto",
                                        [CONFIG_SERIAL_SPCR] = "spcr",
                                        [CONFIG_SERIAL_PCI] = "pci",
                                        [CONFIG_SERIAL_EFI] = "efi"};
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (words[i] != NULL && value_is(value, words[i])) {
            config->serial = (enum config_serial)i;
            return true;
        }
    }
    if (!set_place(&config->uart, value)) {
        return false;
    }
    config->serial = CONFIG_SERIAL_GIVEN;
    return true;
}

/* virt:level:bit, the first in hexadecimal. */
static bool set_flip(struct config_flip *flip_ret, struct value value) {
    struct value parts[3];
    struct config_flip flip;
    if (cut(value, sizeof(parts) / sizeof(parts[0]), parts) != 3 ||
        !set_number(&flip.virt, parts[0], 16, UINT64_MAX) ||
        !set_number(&flip.level, parts[1], 10, 5) || flip.level == 0 ||
        !set_number(&flip.bit, parts[2], 10, 63)) {
        return false;
    }
    *flip_ret = flip;
    return true;
}

/* False if the value is bad; *known_ret says whether the key is one of ours. */
static bool set_key(struct config *config, struct value key, struct value value, bool *known_ret) {
    uint64_t number;
    *known_ret = true;
    if (value_is(key, "inject")) {
        return set_text(config->inject, sizeof(config->inject), value);
    }
    if (value_is(key, "preflight")) {
        return set_choice(&config->preflight_stops, value, "warn", "stop");
    }
    if (value_is(key, "safe_idt")) {
        return set_choice(&config->safe_idt, value, "off", "on");
    }
    if (value_is(key, "identity")) {
        return set_choice(&config->identity_full, value, "image", "full");
    }
    if (value_is(key, "identity_pages")) {
        return set_page_size(&config->identity_level, value);
    }
    if (value_is(key, "breakpoint")) {
        return set_choice(&config->breakpoint, value, "off", "on");
    }
    if (value_is(key, "rehearse")) {
        return set_choice(&config->rehearse, value, "off", "on");
    }
    if (value_is(key, "debugger")) {
        return set_choice(&config->debugger_wait, value, "none", "wait");
    }
    if (value_is(key, "last")) {
        return set_choice(&config->last_show, value, "off", "show");
    }
    if (value_is(key, "sinks")) {
        return set_sinks(&config->sinks, value);
    }
    if (value_is(key, "uart_port")) {
        if (!set_number(&number, value, 16, 0xfff8) || number == 0) {
            return false;
        }
        config->uart = (struct uart_place){.base = number};
        config->serial = CONFIG_SERIAL_GIVEN;
        return true;
    }
    if (value_is(key, "serial")) {
        return set_serial(config, value);
    }
    if (value_is(key, "debugcon_port")) {
        return set_port(&config->debugcon_port, value);
    }
    if (value_is(key, "trace_file")) {
        /* The empty path would be the volume's root. */
        return value.count > 0 && set_text(config->trace_file, sizeof(config->trace_file), value);
    }
    if (value_is(key, "kernel")) {
        return set_text(config->kernel, sizeof(config->kernel), value);
    }
    if (value_is(key, "fail_allocation")) {
        return set_number(&config->fail_allocation, value, 10, UINT64_C(1000000));
    }
    if (value_is(key, "flip")) {
        return set_flip(&config->flip, value);
    }
    *known_ret = false;
    return false;
}

static bool refuse(struct message *why, size_t line, const char *what, struct value word) {
    message_start(why, "line ");
    message_decimal(why, line);
    message_text(why, ": ");
    message_text(why, what);
    message_text(why, ": ");
    message_name(why, word.bytes, word.count < MOST_QUOTED ? word.count : MOST_QUOTED);
    return false;
}

static bool is_blank(char byte) {
    return byte == ' ' || byte == '\t' || byte == '\r';
}

static struct value trim(struct value value) {
    while (value.count > 0 && is_blank(value.bytes[0])) {
        value.bytes++;
        value.count--;
    }
    while (value.count > 0 && is_blank(value.bytes[value.count - 1])) {
        value.count--;
    }
    return value;
}

/* It would hide what stands behind it, in a text as in a refusal that repeats the line. */
static bool has_nul(struct value text) {
    for (size_t i = 0; i < text.count; i++) {
        if (text.bytes[i] == '\0') {
            return true;
        }
    }
    return false;
}

static bool parse_line(struct config *config, struct value text, size_t line, struct message *why) {
    for (size_t i = 0; i < text.count; i++) {
        if (text.bytes[i] == '#') {
            text.count = i;
        }
    }
    text = trim(text);
    if (text.count == 0) {
        return true;
    }
    if (has_nul(text)) {
        message_start(why, "line ");
        message_decimal(why, line);
        message_text(why, ": holds a NUL byte, as UTF-16 does: what is read is ASCII or UTF-8");
        return false;
    }
    size_t equals = 0;
    while (equals < text.count && text.bytes[equals] != '=') {
        equals++;
    }
    if (equals == text.count) {
        return refuse(why, line, "not key=value", text);
    }
    struct value key = trim((struct value){text.bytes, equals});
    struct value value = trim((struct value){text.bytes + equals + 1, text.count - equals - 1});
    bool known;
    if (!set_key(config, key, value, &known)) {
        return known ? refuse(why, line, "bad value", text) : refuse(why, line, "unknown key", key);
    }
    return true;
}

bool config_parse(struct config *config, const char *text, size_t bytes, struct message *why) {
    size_t line = 1;
    const size_t mark = sizeof(UTF8_MARK) - 1;
    size_t start = bytes >= mark && text_equals(text, mark, UTF8_MARK) ? mark : 0;
    for (size_t i = start; i <= bytes; i++) {
        if (i < bytes && text[i] != '\n') {
            continue;
        }
        if (!parse_line(config, (struct value){text + start, i - start}, line, why)) {
            return false;
        }
        start = i + 1;
        line++;
    }
    return true;
}
