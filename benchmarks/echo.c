/* Sends back what comes, on a descriptor that is both: the end of a pty, or a connected socket. */
#include <unistd.h>

int main(void) {
    char bytes[4096];
    ssize_t n;
    while ((n = read(0, bytes, sizeof bytes)) > 0) {
        if (write(0, bytes, (size_t)n) != n) {
            return 1;
        }
    }
    return 0;
}
