// Where a training step's time goes.
#pragma once

#include <chrono>

namespace nerf {

// Read by nerf/engine/signatures.py.
enum Stage { DRAW, TRACE, DENSITY, GATHER, COLOR, COMPOSITE, BACKWARD, WEIGHTS, SCATTER, ADAM, CAMERAS, N_STAGES };

// Wall seconds of one thread by stage. A thread's processor time would not count other programs, but costs a system
// call a lap: 3 % of a step.
class Stopwatch {
public:
    void start() { since_ = Clock::now(); }
    // Books the time since the last lap, or the start, on a stage.
    void lap(Stage stage) {
        const auto now = Clock::now();
        seconds[stage] += std::chrono::duration<double>(now - since_).count();
        since_ = now;
    }
    double seconds[N_STAGES] = {};

private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point since_;
};

}  // namespace nerf
