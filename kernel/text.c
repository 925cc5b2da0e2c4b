#include "text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

static void add_char(struct text *text, char character) {
    if (text->length + 1 < TEXT_BYTES) {
        text->bytes[text->length++] = character;
        text->bytes[text->length] = '\0';
    }
}

static void add_string(struct text *text, const char *string) {
    for (; *string != '\0'; string++) {
        add_char(text, *string);
    }
}

static void add_number(struct text *text, uint64_t value, unsigned base) {
    char digits[20]; /* 2^64 has 20 decimal digits */
    size_t count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    while (count != 0) {
        add_char(text, digits[--count]);
    }
}

static void add_list(struct text *text, const char *format, va_list *arguments) {
    while (*format != '\0') {
        if (*format != '%') {
            add_char(text, *format++);
            continue;
        }
        bool is_long = format[1] == 'l';
        char conversion = format[is_long ? 2 : 1];
        if (conversion == 'u' || conversion == 'x') {
            uint64_t value =
                is_long ? va_arg(*arguments, unsigned long) : va_arg(*arguments, unsigned int);
            add_number(text, value, conversion == 'u' ? 10 : 16);
        } else if (conversion == 's' && !is_long) {
            add_string(text, va_arg(*arguments, const char *));
        } else if (conversion == 'c' && !is_long) {
            add_char(text, (char)va_arg(*arguments, int));
        } else if (conversion == '%' && !is_long) {
            add_char(text, '%');
        } else {
            add_char(text, *format++);
            continue;
        }
        format += is_long ? 3 : 2;
    }
}

void text_init(struct text *text) {
    text->length = 0;
    text->bytes[0] = '\0';
}

void text_add(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    add_list(text, format, &arguments);
    va_end(arguments);
}

void text_set(struct text *text, const char *format, ...) {
    va_list arguments;
    text_init(text);
    va_start(arguments, format);
    add_list(text, format, &arguments);
    va_end(arguments);
}
