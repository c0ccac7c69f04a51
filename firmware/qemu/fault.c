/* A program that does what the core cannot. */
int main(void) {
    __asm volatile("udf #0");
    return 0;
}
