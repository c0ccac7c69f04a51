/* States and reasons in words, for the log and the shell. */
#ifndef APP_STATE_WORDS_H_
#define APP_STATE_WORDS_H_

#include <stdint.h>

#define REASON_WORDS_SIZE 128

const char *state_word(unsigned state);

/* ": COMMAND_TIMEOUT HARDWARE", or "" for none; in `out`, REASON_WORDS_SIZE bytes. */
const char *reason_words(uint16_t reasons, char *out);

#endif
