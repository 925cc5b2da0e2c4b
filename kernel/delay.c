#include "delay.h"

#include <stdint.h>

#include "trace/port_io.h"

/* Channel 2 of the 8254, whose gate and output are bits of port 61h (Intel 82093AA's companion
 * chips; ISA). */
#define TIMER_HZ UINT64_C(1193182)
#define TIMER_CHANNEL_2 0x42u
#define TIMER_COMMAND 0x43u
#define TIMER_ONE_SHOT 0xb0u /* channel 2, low byte then high byte, mode 0 */
#define CONTROL 0x61u
#define CONTROL_GATE 1u
#define CONTROL_SPEAKER 2u
#define CONTROL_OUTPUT 0x20u
#define POLLS_PER_MICROSECOND 2u

void delay_microseconds(unsigned microseconds) {
    uint64_t ticks = microseconds * TIMER_HZ / 1000000 + 1;
    uint8_t control = (uint8_t)(port_in8(CONTROL) & ~(CONTROL_GATE | CONTROL_SPEAKER));
    port_out8(CONTROL, control);
    port_out8(TIMER_COMMAND, TIMER_ONE_SHOT);
    port_out8(TIMER_CHANNEL_2, (uint8_t)ticks);
    port_out8(TIMER_CHANNEL_2, (uint8_t)(ticks >> 8));
    port_out8(CONTROL, (uint8_t)(control | CONTROL_GATE));
    for (unsigned polls = 0; polls < microseconds * POLLS_PER_MICROSECOND; polls++) {
        if ((port_in8(CONTROL) & CONTROL_OUTPUT) != 0) {
            return;
        }
    }
}
