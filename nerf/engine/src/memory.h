// Storage that grows and is reused from step to step.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace nerf {

#if defined(NERF_ONE_LANE)

// On a GPU storage is the host's: a thread sees where it lies. What only the host calls is declared, never defined.
template <class T> class Buffer {
public:
    Buffer() = default;
    explicit Buffer(T* data) : data_(data) {}
    void resize(size_t size);
    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](size_t index) { return data_[index]; }
    const T& operator[](size_t index) const { return data_[index]; }

private:
    T* data_ = nullptr;
};

#else

// An array of plain values, zero at first, aligned to cache lines; growing keeps what it held.
template <class T> class Buffer {
public:
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    Buffer(Buffer&& other) noexcept : data_(other.data_), size_(other.size_), room_(other.room_) {
        other.data_ = nullptr;
        other.size_ = other.room_ = 0;
    }
    ~Buffer() { std::free(data_); }

    // Throws std::bad_alloc.
    void resize(size_t size) {
        if (size > room_) grow(size);
        size_ = size;
    }

    T* data() { return data_; }
    const T* data() const { return data_; }
    size_t size() const { return size_; }
    T& operator[](size_t index) { return data_[index]; }
    const T& operator[](size_t index) const { return data_[index]; }
    T* begin() { return data_; }
    T* end() { return data_ + size_; }

private:
    static constexpr size_t LINE = 64, HUGE = size_t(2) << 20;

    void grow(size_t size) {
        const size_t room = size > room_ + room_ / 2 ? size : room_ + room_ / 2;
        // Large arrays are touched at random: huge pages save most of their page-table walks.
        const size_t alignment = room * sizeof(T) >= HUGE ? HUGE : LINE;
        const size_t bytes = (room * sizeof(T) + alignment - 1) / alignment * alignment;
        void* memory = std::aligned_alloc(alignment, bytes);
        if (!memory) throw std::bad_alloc();
#if defined(__linux__)
        if (alignment == HUGE) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
        std::memset(memory, 0, bytes);
        if (size_) std::memcpy(memory, data_, size_ * sizeof(T));
        std::free(data_);
        data_ = static_cast<T*>(memory);
        room_ = bytes / sizeof(T);
    }

    T* data_ = nullptr;
    size_t size_ = 0, room_ = 0;
};

#endif

}  // namespace nerf
