#include "inject/faults.h"

#include "inject/fault_edits.h"
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
        if (*list == ',' && *++list == '\0') {
            message_start(why, "a fault's name is missing at the end of the list");
            return false;
        }
    }
    *set_ret = set;
    return true;
}

void faults_configure(const struct fault_set *set, struct config *config) {
    for (size_t i = 0; i < set->count; i++) {
        if (set->faults[i]->configure != NULL) {
            set->faults[i]->configure(config);
        }
    }
}

void faults_spoil_kernel(const struct fault_set *set, const struct elf_image *kernel,
                         uint8_t *bytes) {
    for (size_t i = 0; i < set->count; i++) {
        if (set->faults[i]->kernel != NULL) {
            set->faults[i]->kernel(kernel, bytes);
        }
    }
}

bool faults_adjust_mapping(const struct fault_set *set, struct mapping *mapping) {
    for (size_t i = 0; i < set->count; i++) {
        const struct fault *fault = set->faults[i];
        if (!fault_edits_apply_to_range(&fault->range, mapping) ||
            (fault->mapping != NULL && !fault->mapping(mapping))) {
            return false;
        }
    }
    return true;
}

void faults_spoil_tables(const struct fault_set *set, const struct fault_scene *scene) {
    for (size_t i = 0; i < set->count; i++) {
        fault_edits_apply_to_entry(&set->faults[i]->entry, scene);
        if (set->faults[i]->tables != NULL) {
            set->faults[i]->tables(scene);
        }
    }
}

void faults_spoil_handoff(const struct fault_set *set, struct cr3scope_request *request) {
    for (size_t i = 0; i < set->count; i++) {
        if (set->faults[i]->handoff != NULL) {
            set->faults[i]->handoff(request);
        }
    }
}

void faults_spoil_state(const struct fault_set *set, struct cpu_state *planned) {
    for (size_t i = 0; i < set->count; i++) {
        if (set->faults[i]->state != NULL) {
            set->faults[i]->state(planned);
        }
    }
}

void faults_spoil_start(const struct fault_set *set, const struct fault_start *start) {
    for (size_t i = 0; i < set->count; i++) {
        if (set->faults[i]->start != NULL) {
            set->faults[i]->start(start);
        }
    }
}
