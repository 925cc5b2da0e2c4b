/** Where injected faults meet the boot: what they need to know of it, and what only they do. */
#pragma once

struct boot;
struct fault_scene;

/** Says where the places are in this boot, whose tables are finished. *scene_ret points into *boot.
 */
void spoil_scene(struct boot *boot, struct fault_scene *scene_ret);
/** Lets the injected faults at the kernel in memory. */
void spoil_kernel(struct boot *boot);
/** From now on the injected faults see every range before it is mapped. */
void spoil_mappings(struct boot *boot);
/** Lets the injected faults, and `flip=`, at the finished tables. */
void spoil_tables(struct boot *boot);
/** Lets the injected faults at what the handoff will load. */
void spoil_handoff(struct boot *boot);
/** Lets the injected faults at the other CPUs' start, once that is prepared. */
void spoil_start(struct boot *boot);
/** An injected fault: rewrites, as it is, the entry of the firmware's own top table that covers the
 * loader. */
void spoil_firmware_tables(struct boot *boot);
