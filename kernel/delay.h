/** Waiting without interrupts. */
#pragma once

/** At least about so long, by the PC's timer; where there is none, so many reads of its port. At
 * most 50000. */
void delay_microseconds(unsigned microseconds);
