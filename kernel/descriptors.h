/** The kernel's own descriptor tables. */
#pragma once

/**
 * Loads the GDT with its TSS, every selector, and an IDT of 256 gates. All gates run on an
 * interrupt stack, so that a bad RSP is caught too; those that may strike inside another handler
 * have a second one.
 */
void descriptors_load(void);
