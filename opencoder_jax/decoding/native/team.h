// Threads that share out the parts of a loop.
//
// A step of decoding has some hundred loops of 20 to 500 microseconds, too short to wake a
// sleeping thread for each; so the members spin for a while before they sleep. Each begins with
// a stretch of parts of its own, so that what it reads lies in one piece, and takes others'
// parts when its own are done: nobody waits for a member that has not come.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
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
    if (!lock || members_ == 1 || parts == 1 || parts > kMostParts) {
      for (int part = 0; part < parts; ++part) work(part);
      return;
    }
    work_.store(&work, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    const uint32_t round = round_.load(std::memory_order_relaxed) + 1;
    for (int m = 0; m < members_; ++m) {
      const uint64_t begin = parts * m / members_, end = parts * (m + 1) / members_;
      stretches_[m].ticket.store(uint64_t{round} << 32 | end << 16 | begin,
                                 std::memory_order_release);
    }
    round_.store(round, std::memory_order_release);
    if (sleeping_.load(std::memory_order_seq_cst)) round_.notify_all();
    Share(0);
    for (int spins = 0; done_.load(std::memory_order_acquire) < parts; ++spins) Pause(spins);
  }

  int members() const { return members_; }

 private:
  Team() {
    members_ = std::max(1u, std::thread::hardware_concurrency());
    if (const char* given = std::getenv("OPENCODER_JAX_DECODING_THREADS")) {
      members_ = std::max(1, std::atoi(given));
    }
    stretches_ = std::make_unique<Stretch[]>(members_);
    for (int i = 1; i < members_; ++i) std::thread([this, i] { Serve(i); }).detach();
  }

  // A member's parts: the round in the upper half, then the end and the next part.
  struct alignas(64) Stretch {
    std::atomic<uint64_t> ticket{0};
  };

  void Share(int member) {
    for (int i = 0; i < members_; ++i) {
      std::atomic<uint64_t>& next = stretches_[(member + i) % members_].ticket;
      uint64_t ticket = next.load(std::memory_order_acquire);
      while ((ticket & kMostParts) < (ticket >> 16 & kMostParts)) {
        const Work* work = work_.load(std::memory_order_relaxed);
        // Where it succeeds, this part was still to be done all the while: the work is its
        // round's, which does not end before us.
        if (!next.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
        (*work)(static_cast<int>(ticket & kMostParts));
        done_.fetch_add(1, std::memory_order_release);
        ticket = next.load(std::memory_order_acquire);
      }
    }
  }

  void Serve(int member) {
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
      Share(member);
    }
  }

  static void Pause(int spins) {
    // Where there are more threads than processors the others need their turn.
    if (spins % 256 == 255) std::this_thread::yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  static constexpr int kMostParts = 0xffff;
  static constexpr int kSpins = 20000;  // About a millisecond.
  int members_;
  std::mutex mutex_;
  std::unique_ptr<Stretch[]> stretches_;
  std::atomic<const Work*> work_{nullptr};
  std::atomic<int> done_{0}, sleeping_{0};
  std::atomic<uint32_t> round_{0};
};
