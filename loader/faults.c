#include "faults.h"

#include "text.h"

static const struct fault *find(const char *id, size_t id_bytes, const char *variant,
                                size_t variant_bytes) {
    for (size_t i = 0; i < fault_table_count; i++) {
        const struct fault *fault = &fault_table[i];
        if (text_equals(id, id_bytes, fault->id) &&
            text_equals(variant, variant_bytes, fault->variant)) {
            return fault;
        }
    }
    return NULL;
}

bool faults_parse(const char *list, struct fault_set *set_ret, struct message *why) {
    struct fault_set set = {.count = 0};
    while (*list != '\0') {
        size_t length = 0;
        size_t id_bytes = 0;
        while (list[length] != '\0' && list[length] != ',') {
            if (list[length] != ':' && id_bytes == length) {
                id_bytes++;
            }
            length++;
        }
        size_t variant = id_bytes < length ? id_bytes + 1 : length;
        const struct fault *fault = find(list, id_bytes, list + variant, length - variant);
        if (fault == NULL || set.count == FAULTS_AT_ONCE) {
            message_start(why, fault == NULL ? "no such fault: " : "too many faults, from: ");
            message_name(why, list, length);
            return false;
        }
        set.faults[set.count++] = fault;
        list += length;
        list += *list == ',' ? 1 : 0;
    }
    *set_ret = set;
    return true;
}

bool faults_adjust_mapping(const struct fault_set *set, struct mapping *mapping) {
    for (size_t i = 0; i < set->count; i++) {
        if (set->faults[i]->mapping != NULL && !set->faults[i]->mapping(mapping)) {
            return false;
        }
    }
    return true;
}

void faults_spoil_tables(const struct fault_set *set, struct address_space *space) {
    for (size_t i = 0; i < set->count; i++) {
        if (set->faults[i]->tables != NULL) {
            set->faults[i]->tables(space);
        }
    }
}

void faults_spoil_handoff(const struct fault_set *set, struct handoff_arguments *arguments) {
    for (size_t i = 0; i < set->count; i++) {
        if (set->faults[i]->handoff != NULL) {
            set->faults[i]->handoff(arguments);
        }
    }
}
