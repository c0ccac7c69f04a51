#include "pty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static bool make_raw(int fd) {
    struct termios settings;
    if (tcgetattr(fd, &settings) != 0) {
        return false;
    }
    cfmakeraw(&settings);
    return tcsetattr(fd, TCSANOW, &settings) == 0;
}

static bool open_both_ends(pty *line) {
    line->fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (line->fd < 0 || grantpt(line->fd) != 0 || unlockpt(line->fd) != 0 ||
        ptsname_r(line->fd, line->line_path, sizeof line->line_path) != 0) {
        return false;
    }
    line->line_fd = open(line->line_path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return line->line_fd >= 0 && make_raw(line->line_fd);
}

static bool is_symbolic_link(const char *path) {
    struct stat status;
    return lstat(path, &status) == 0 && S_ISLNK(status.st_mode);
}

/* Only a link is replaced, and only a link that is still ours is removed: never a user's file. */
static bool make_link(pty *line, const char *link_path) {
    if (is_symbolic_link(link_path)) {
        unlink(link_path);
    }
    if (symlink(line->line_path, link_path) != 0) {
        return false;
    }
    line->link_path = link_path;
    return true;
}

static void remove_link(pty *line) {
    char target[PATH_MAX];
    const ssize_t size = readlink(line->link_path, target, sizeof target - 1);
    if (size > 0) {
        target[size] = '\0';
        if (strcmp(target, line->line_path) == 0) {
            unlink(line->link_path);
        }
    }
    line->link_path = NULL;
}

bool pty_open(pty *line, const char *link_path, char *error, size_t error_size) {
    *line = (pty){.fd = -1, .line_fd = -1};
    if (!open_both_ends(line)) {
        snprintf(error, error_size, "no pseudo-terminal could be opened: %s", strerror(errno));
        pty_close(line);
        return false;
    }
    if (link_path != NULL && !make_link(line, link_path)) {
        const int reason = errno;
        snprintf(error, error_size, "cannot create the symbolic link %s: %s%s", link_path,
                 strerror(reason),
                 reason == EEXIST ? "; something other than a symbolic link is there, so give "
                                    "another --pty path"
                                  : "");
        pty_close(line);
        return false;
    }
    return true;
}

size_t pty_read(pty *line, uint8_t *bytes, size_t size) {
    const ssize_t got = line->fd < 0 ? -1 : read(line->fd, bytes, size);
    return got > 0 ? (size_t)got : 0;
}

/* Returns how many bytes the line took. */
static size_t write_some(pty *line, const uint8_t *bytes, size_t size) {
    const ssize_t put = write(line->fd, bytes, size);
    return put > 0 ? (size_t)put : 0;
}

static bool write_rest(pty *line) {
    const size_t put = write_some(line, line->rest, line->rest_size);
    line->rest_size -= put;
    memmove(line->rest, line->rest + put, line->rest_size);
    return line->rest_size == 0;
}

bool pty_write_frame(pty *line, const uint8_t *frame, size_t size) {
    if (line->fd < 0 || (line->rest_size > 0 && !write_rest(line))) {
        return false;
    }
    const size_t put = write_some(line, frame, size);
    if (put == 0) {
        return false;
    }
    line->rest_size = size - put;
    memcpy(line->rest, frame + put, line->rest_size);
    return true;
}

void pty_close(pty *line) {
    if (line->link_path != NULL) {
        remove_link(line);
    }
    if (line->line_fd >= 0) {
        close(line->line_fd);
    }
    if (line->fd >= 0) {
        close(line->fd);
    }
    line->fd = -1;
    line->line_fd = -1;
    line->rest_size = 0;
}
