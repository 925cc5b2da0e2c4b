#include "trace/screen_sink.h"

#include "trace/message.h"

static void screen_write(void *context, const char *bytes, size_t count) {
    struct screen_sink *sink = (struct screen_sink *)context;
    if (!sink->waits) {
        screen_sink_take(sink, bytes, count);
    }
}

void screen_sink_init(struct screen_sink *sink_ret, const struct screen *screen) {
    __builtin_memset(sink_ret, 0, sizeof(*sink_ret));
    sink_ret->sink.name = "screen";
    sink_ret->sink.write = screen_write;
    sink_ret->sink.context = sink_ret;
    if (screen != NULL) {
        sink_ret->screen = *screen;
    }
    photo_init(&sink_ret->photo);
}

struct screen_sink *screen_sink_of(const struct trace *trace) {
    for (size_t i = 0; i < trace->sink_count; i++) {
        if (trace->sinks[i]->write == screen_write) {
            return (struct screen_sink *)trace->sinks[i]->context;
        }
    }
    return NULL;
}

static bool begins_with(const char *bytes, size_t count, const char *text) {
    size_t i = 0;
    while (text[i] != '\0' && i < count && bytes[i] == text[i]) {
        i++;
    }
    return text[i] == '\0';
}

static void put(struct screen_sink *sink, char byte) {
    if (sink->used < SCREEN_SINK_TEXT_BYTES) {
        sink->text[sink->used++] = byte;
    }
}

void screen_sink_take(struct screen_sink *sink, const char *bytes, size_t count) {
    if (begins_with(bytes, count, TRACE_SENTINEL)) {
        photo_record(&sink->photo, bytes, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != '\r') {
            put(sink, bytes[i] == '\n' ? '\0' : bytes[i]);
        }
    }
}

void screen_sink_line(struct screen_sink *sink, const char *line) {
    while (*line != '\0') {
        put(sink, *line++);
    }
    put(sink, '\0');
}

void screen_sink_forget_lines(struct screen_sink *sink) {
    sink->used = 0;
}

static void draw_lines(struct screen_sink *sink) {
    sink->text[SCREEN_SINK_TEXT_BYTES - 1] = '\0';
    for (uint32_t at = 0; at < sink->used; at++) {
        screen_text(&sink->screen, sink->text + at);
        while (at < sink->used && sink->text[at] != '\0') {
            at++;
        }
    }
}

static void caption(struct message *line, const struct screen_codes *codes, uint32_t picture,
                    uint32_t pictures) {
    if (codes->frames == 0) {
        message_start(line, "(no room for codes)");
        return;
    }
    message_start(line, "photograph the codes, then on another machine: cr3scope analyze PHOTO");
    if (pictures > 1) {
        message_start(line, "picture ");
        message_decimal(line, picture + 1);
        message_text(line, " of ");
        message_decimal(line, pictures);
        message_text(line, ", in turn: photograph each, then: cr3scope analyze PHOTO...");
    }
}

uint32_t screen_sink_show(struct screen_sink *sink, uint32_t picture, struct qr *qr) {
    struct screen *screen = &sink->screen;
    struct screen_codes codes;
    struct message line;
    if (screen->first == NULL) {
        return 1;
    }
    screen_clear(screen);
    draw_lines(sink);
    uint32_t place = screen->line;
    screen->line += 2; /* the caption's, perhaps in two */
    screen_codes_plan(screen, &sink->photo, &codes);
    uint32_t pictures = screen_codes_pictures(&codes);
    uint32_t top = screen->line;
    picture = pictures != 0 ? picture % pictures : 0;
    caption(&line, &codes, picture, pictures);
    screen->line = place;
    screen_text(screen, line.text);
    screen->line = top;
    if (pictures != 0) {
        screen_codes_draw(screen, &sink->photo, &codes, picture, qr);
    }
    return pictures != 0 ? pictures : 1;
}
