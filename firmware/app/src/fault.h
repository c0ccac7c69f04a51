/*
 * What ends in a restart: safe first, and SAFE, for HARDWARE, when the next host comes. Somebody
 * has to look at it: a host that arms by itself does not arm that.
 */
#ifndef APP_FAULT_H_
#define APP_FAULT_H_

#include <stdbool.h>

/* The machine is safe already. From any context; does not return. */
void fault_restart(void);

/* Whether that is how this start came about. Once: not asked again until the next one. */
bool fault_was_before(void);

#endif
