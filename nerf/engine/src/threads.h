// A pool of threads that share out numbered jobs. Which thread does which job never changes a result here.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace nerf {

class Pool {
public:
    // The pool of this library in this process; its threads are started when first needed. A child of fork() has none of
    // its parent's threads, only what they left in memory: it gets a pool of its own.
    static Pool& shared();

    // Calls work(job, thread) for job = 0 .. n_jobs - 1, on `threads` threads, this one included (thread 0).
    // Jobs are begun in order. Rethrows the first exception of a job.
    void run(int64_t n_jobs, int threads, const std::function<void(int64_t, int)>& work);

    ~Pool();

private:
    void serve(int thread, uint32_t round);
    void take_jobs(int thread);

    std::vector<std::thread> threads_;
    std::mutex running_;
    std::atomic<uint32_t> round_{0};
    std::atomic<int> busy_{0};
    std::atomic<int64_t> next_{0};
    std::atomic<bool> stop_{false};
    int64_t n_jobs_ = 0;
    int active_ = 1;
    const std::function<void(int64_t, int)>* work_ = nullptr;
    std::mutex failing_;
    std::exception_ptr failure_;
};

}  // namespace nerf
