/** The two kinds of fault that are data: a range changed as it is mapped, an entry edited at the
 * end.
 */
#pragma once

#include "inject/faults.h"

/** False leaves the range out. */
bool fault_edits_apply_to_range(const struct range_edit *edit, struct mapping *mapping);

/** Edits the entry for the place, and traces it. Nothing if this boot has no such place, or its
 * tables no such entry. */
void fault_edits_apply_to_entry(const struct entry_edit *edit, const struct fault_scene *scene);
