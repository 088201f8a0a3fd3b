// The flat C interface: plain structs and pointers, no exceptions. Every function that can fail returns 0 on success.
#pragma once

#include <exception>

#if defined(_WIN32)
#define NERF_EXPORT extern "C" __declspec(dllexport)
#else
#define NERF_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace nerf {

// What went wrong in this thread's last call that failed.
const char* last_error();
void set_last_error(const char* message);

// Returns 0, or 1 after an exception.
template <class Work> inline int guarded(Work work) {
    try {
        work();
        return 0;
    } catch (const std::exception& error) {
        set_last_error(error.what());
        return 1;
    }
}

}  // namespace nerf
