#include "trace/message.h"

static const char hex_digits[] = "0123456789abcdef";

static void message_byte(struct message *message, char byte) {
    if (message->length + 1 < MESSAGE_BYTES) {
        message->text[message->length++] = byte;
        message->text[message->length] = '\0';
    }
}

void message_start(struct message *message, const char *text) {
    message->length = 0;
    message->text[0] = '\0';
    message_text(message, text);
}

void message_text(struct message *message, const char *text) {
    while (*text != '\0') {
        message_byte(message, *text++);
    }
}

void message_name(struct message *message, const char *name, size_t count) {
    for (size_t i = 0; i < count && name[i] != '\0'; i++) {
        message_byte(message, name[i] >= ' ' && name[i] <= '~' ? name[i] : '?');
    }
}

static void message_number(struct message *message, uint64_t value, unsigned base) {
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = hex_digits[value % base];
        value /= base;
    } while (value != 0);
    while (count > 0) {
        message_byte(message, digits[--count]);
    }
}

void message_hex(struct message *message, uint64_t value) {
    message_text(message, "0x");
    message_number(message, value, 16);
}

void message_decimal(struct message *message, uint64_t value) {
    message_number(message, value, 10);
}

void message_digits(char *text_ret, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        *text_ret++ = hex_digits[bytes[i] >> 4];
        *text_ret++ = hex_digits[bytes[i] & 15];
    }
    *text_ret = '\0';
}
