/* States and reasons in words, for a log, a console, a summary. */
#ifndef RTLOOP_WORDS_H
#define RTLOOP_WORDS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "SAFE"; "?" for a state that there is not. */
const char *rtl_state_word(unsigned state);

/* "HARDWARE", of bit 6; NULL for a bit that means nothing. */
const char *rtl_reason_word(unsigned bit);

#define RTL_STATE_WORDS_SIZE 96u

/* "IDLE", "SAFE: LIMIT HARDWARE". Writes to `out`, RTL_STATE_WORDS_SIZE bytes, and returns it. */
const char *rtl_state_words(unsigned state, uint16_t reasons, char *out);

#ifdef __cplusplus
}
#endif

#endif
