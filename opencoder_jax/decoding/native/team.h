// Threads that share out the parts of a loop.
//
// A step of decoding has some hundred loops of 20 to 500 microseconds, too short to wake a
// sleeping thread for each; so the members spin for a while before they sleep. Nobody waits
// for a member that has not come: parts are taken by who is there.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>

class Team {
 public:
  using Work = std::function<void(int)>;

  static Team& Get() {
    static Team* team = new Team;  // Never destroyed: its threads outlive `main`.
    return *team;
  }

  // Calls `work(part)` for each part below `parts`, on all members; returns when all are done.
  void Run(int parts, const Work& work) {
    std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    // Another program is at it, or there is nothing to share: here and now.
    if (!lock || members_ == 1 || parts == 1) {
      for (int part = 0; part < parts; ++part) work(part);
      return;
    }
    work_.store(&work, std::memory_order_relaxed);
    parts_.store(parts, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    // The round in the upper half, the next part in the lower.
    const uint64_t first = ((tickets_.load(std::memory_order_relaxed) >> 32) + 1) << 32;
    tickets_.store(first, std::memory_order_release);
    round_.store(static_cast<uint32_t>(first >> 32), std::memory_order_release);
    if (sleeping_.load(std::memory_order_seq_cst)) round_.notify_all();
    Share();
    for (int spins = 0; done_.load(std::memory_order_acquire) < parts; ++spins) Pause(spins);
  }

  int members() const { return members_; }

 private:
  Team() {
    members_ = std::max(1u, std::thread::hardware_concurrency());
    if (const char* given = std::getenv("OPENCODER_JAX_DECODING_THREADS")) {
      members_ = std::max(1, std::atoi(given));
    }
    for (int i = 1; i < members_; ++i) std::thread([this] { Serve(); }).detach();
  }

  void Share() {
    uint64_t ticket = tickets_.load(std::memory_order_acquire);
    while (true) {
      const Work* work = work_.load(std::memory_order_relaxed);
      const int part = static_cast<int>(ticket & 0xffffffff);
      if (part >= parts_.load(std::memory_order_relaxed)) return;
      // Where it succeeds, the round was this one all the while, and does not end before us.
      if (!tickets_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      (*work)(part);
      done_.fetch_add(1, std::memory_order_release);
      ticket = tickets_.load(std::memory_order_acquire);
    }
  }

  void Serve() {
    uint32_t seen = 0;
    while (true) {
      for (int spins = 0; round_.load(std::memory_order_acquire) == seen; ++spins) {
        if (spins < kSpins) {
          Pause(spins);
          continue;
        }
        sleeping_.fetch_add(1, std::memory_order_seq_cst);
        round_.wait(seen, std::memory_order_seq_cst);
        sleeping_.fetch_sub(1, std::memory_order_seq_cst);
      }
      seen = round_.load(std::memory_order_acquire);
      Share();
    }
  }

  static void Pause(int spins) {
    // Where there are more threads than processors the others need their turn.
    if (spins % 256 == 255) std::this_thread::yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  static constexpr int kSpins = 20000;  // About a millisecond.
  int members_;
  std::mutex mutex_;
  std::atomic<const Work*> work_{nullptr};
  std::atomic<int> parts_{0}, done_{0}, sleeping_{0};
  std::atomic<uint64_t> tickets_{0};
  std::atomic<uint32_t> round_{0};
};
