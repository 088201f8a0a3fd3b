// The border: nothing that comes through the flat C interface is computed with before it was looked at.
//
// Beside every struct of a call stands a function `check`, which holds its fields against their ranges; `checked` is
// the gate that calls it. Looked at are numbers, and the arrays that hold sizes (levels, widths, where rays begin).
// What else arrays hold, and that they are as long as the sizes say, is for the caller to know.
#pragma once

#include <cmath>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

namespace nerf {

constexpr int64_t MOST_AT_ONCE = int64_t(1) << 40;  // rays, samples or positions of a call
constexpr int32_t MOST_THREADS = 1024;

// The fields of one struct, held against their ranges. Each function throws std::invalid_argument, which names the
// field, its value and what is expected.
class Fields {
public:
    explicit Fields(const char* of) : of_(of) {}

    // A number in least .. most; no range holds one that is not a number.
    template <class T> void within(const std::string& name, T value, T least, T most) const {
        if (value >= least && value <= most) return;
        std::ostringstream words;
        words << value << " is not in " << least << " .. " << most;
        refuse(name, words.str());
    }
    template <class T> void finite(const std::string& name, T value) const {
        if (!std::isfinite(value)) refuse(name, "not a finite number");
    }
    template <class T> void finite(const std::string& name, const T (&values)[3]) const {
        for (const T value : values) finite(name, value);
    }
    template <class T> void positive(const std::string& name, T value) const {
        if (!(value > 0) || !std::isfinite(value)) refuse(name, "not a finite number above 0");
    }
    template <class T> void not_negative(const std::string& name, T value) const {
        if (!(value >= 0) || !std::isfinite(value)) refuse(name, "not a finite number of at least 0");
    }
    void present(const std::string& name, const void* array, bool needed = true) const {
        if (needed && !array) refuse(name, "null");
    }
    void threads(int32_t value) const { within<int32_t>("threads", value, 1, MOST_THREADS); }
    void at_once(const std::string& name, int64_t value) const { within<int64_t>(name, value, 0, MOST_AT_ONCE); }

    [[noreturn]] void refuse(const std::string& name, const std::string& what) const {
        throw std::invalid_argument(of_ + "." + name + ": " + what);
    }

private:
    std::string of_;
};

// Returns what a pointer that must not be null points at.
template <class T> T& present(T* pointer) {
    if (!pointer) throw std::invalid_argument("a null pointer where a struct or a model is expected");
    return *pointer;
}

// Returns a struct after a look at it. context: what its ranges depend on.
template <class Struct, class... Context>
const Struct& checked(const Struct* pointer, const Context&... context) {
    check(present(pointer), context...);
    return *pointer;
}

}  // namespace nerf
