/*
 * The driver without libFuzzer: `fuzz_… BYTES SEED` makes inputs of so many bytes in all, drawn
 * from the seed.
 */
#include "fuzz.h"

#define INPUT_MAX 2048u

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s BYTES SEED\n", argv[0]);
        return 2;
    }
    const unsigned long long wanted = strtoull(argv[1], NULL, 10);
    uint64_t seed = strtoull(argv[2], NULL, 10);
    unsigned long long inputs = 0, bytes = 0;
    for (; bytes < wanted; ++inputs) {
        const size_t size = 1 + random_below(&seed, INPUT_MAX);
        uint8_t *const input = malloc(size); /* exact, so that a sanitizer sees a byte too far */
        if (input == NULL) {
            return 2;
        }
        for (size_t i = 0; i < size; ++i) {
            input[i] = (uint8_t)random_word(&seed);
        }
        LLVMFuzzerTestOneInput(input, size);
        free(input);
        bytes += size;
    }
    printf("seed %s, %llu inputs of %llu bytes: ", argv[2], inputs, bytes);
    return fuzz_report() || wanted < 100000 ? 0 : 1;
}
