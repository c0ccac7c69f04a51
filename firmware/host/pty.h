/*
 * A pseudo-terminal in place of a serial line: the firmware holds one end, the host opens the
 * other by path like any serial device.
 *
 * Nothing here waits. A host that does not read fills the line; what does not fit is dropped as
 * whole frames, because a device must not stall with its host.
 */
#ifndef RTLOOP_HOST_PTY_H_
#define RTLOOP_HOST_PTY_H_

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rtloop/frame.h"

typedef struct {
    int fd;                      /* the firmware's end, for poll(); -1 when unplugged */
    int line_fd;                 /* the host's end, held so that the line outlives each host */
    char line_path[PATH_MAX];    /* of the host's end */
    const char *link_path;       /* the symbolic link to it, or NULL */
    uint8_t rest[RTL_FRAME_MAX]; /* of a frame that the line took in part */
    size_t rest_size;
} pty;

/*
 * Opens a raw pty and, unless `link_path` is NULL, makes it a symbolic link to the host's end,
 * replacing an older symbolic link. On failure returns false with a message in `error`.
 * `link_path` must outlive the pty.
 */
bool pty_open(pty *line, const char *link_path, char *error, size_t error_size);

/* Returns how many bytes were read, 0 when there are none. */
size_t pty_read(pty *line, uint8_t *bytes, size_t size);

/* Takes a whole frame, or nothing and returns false. */
bool pty_write_frame(pty *line, const uint8_t *frame, size_t size);

/* Pulls the plug: the host's end hangs up and its path is gone. May be called again. */
void pty_close(pty *line);

#endif /* RTLOOP_HOST_PTY_H_ */
