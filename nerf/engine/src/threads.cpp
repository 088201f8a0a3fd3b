#include "threads.h"

#include <unistd.h>

namespace nerf {

// Two phases of a step follow each other within microseconds, but the machine may be shared: wait a little, then sleep.
constexpr int SPINS = 2000;

template <class T> static void wait_while(std::atomic<T>& value, T old) {
    for (int spin = 0; spin < SPINS; ++spin) {
        if (value.load(std::memory_order_acquire) != old) return;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

Pool& Pool::shared() {
    struct Owner {
        Pool* pool = new Pool;
        pid_t process = getpid();
        ~Owner() {
            if (process == getpid()) delete pool;  // a parent's pool cannot be ended here: its threads are not
        }
    };
    static Owner owner;
    // A process that has just been forked has one thread: none can be here at the same time.
    if (owner.process != getpid()) {
        owner.pool = new Pool;
        owner.process = getpid();
    }
    return *owner.pool;
}

Pool::~Pool() {
    stop_ = true;
    ++round_;
    round_.notify_all();
    for (auto& thread : threads_) thread.join();
}

void Pool::take_jobs(int thread) {
    try {
        for (int64_t job; (job = next_.fetch_add(1)) < n_jobs_;) (*work_)(job, thread);
    } catch (...) {
        const std::lock_guard lock(failing_);
        if (!failure_) failure_ = std::current_exception();
        next_ = n_jobs_;
    }
}

void Pool::serve(int thread, uint32_t round) {
    for (;;) {
        wait_while(round_, round);
        ++round;
        if (stop_) return;
        if (thread < active_) take_jobs(thread);
        if (busy_.fetch_sub(1) == 1) busy_.notify_one();
    }
}

void Pool::run(int64_t n_jobs, int threads, const std::function<void(int64_t, int)>& work) {
    const std::lock_guard lock(running_);
    while (int(threads_.size()) + 1 < threads) {
        const int number = int(threads_.size()) + 1;
        threads_.emplace_back([this, number, round = round_.load()] { serve(number, round); });
    }
    n_jobs_ = n_jobs;
    work_ = &work;
    active_ = threads;
    failure_ = nullptr;
    next_ = 0;
    if (threads > 1) {
        busy_ = int(threads_.size());
        ++round_;
        round_.notify_all();
    }
    take_jobs(0);
    for (int busy; threads > 1 && (busy = busy_.load()) > 0;) wait_while(busy_, busy);
    if (failure_) std::rethrow_exception(failure_);
}

}  // namespace nerf
