// Where tests look in: a library that is preloaded may define these, to count what a cycle does.
#pragma once

extern "C" {
// 1 when the calling thread becomes active, 0 when it no longer is.
void rtloop_probe_active(int active) __attribute__((weak));
// 1 on entry to ONNX Runtime's Run, 0 on return.
void rtloop_probe_run(int inside) __attribute__((weak));
}
