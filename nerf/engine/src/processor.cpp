#include <cstring>
#include <string>

#include "interface.h"

namespace nerf {

static thread_local std::string message;

const char* last_error() { return message.c_str(); }
void set_last_error(const char* text) { message = text; }

}  // namespace nerf

// The ABI of nerf/engine/signatures.py that this library was built for: Python refuses any other.
NERF_EXPORT const char* nerf_abi() { return NERF_ABI; }

NERF_EXPORT const char* nerf_last_error() { return nerf::last_error(); }

// Whether this processor can run the library of an instruction set. Only the baseline library may be asked.
NERF_EXPORT int nerf_processor_has(const char* name) {
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!std::strcmp(name, "avx2")) return avx2;
    if (!std::strcmp(name, "avx512")) return avx512;
    if (!std::strcmp(name, "avx512bf16")) return avx512 && __builtin_cpu_supports("avx512bf16");
#endif
    return !std::strcmp(name, "baseline");
}
