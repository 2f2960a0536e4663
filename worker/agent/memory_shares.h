// Who of the jobs beside each other may take how much memory for training. What a run needs in its
// steps is not held between them, so free memory alone does not tell what is left for the next.
// Thread safety: used with the turn (worker/agent/compute_turns.h), but for waiting().
#ifndef WARDTUNE_WORKER_AGENT_MEMORY_SHARES_H_
#define WARDTUNE_WORKER_AGENT_MEMORY_SHARES_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <utility>

namespace wardtune {

class MemoryShares {
 public:
  // One of the jobs, until the end of its scope. The shares must outlive it, and what follows.
  class Job {
   public:
    explicit Job(MemoryShares& shares) : shares_(shares) { ++shares_.jobs_; }
    ~Job() { --shares_.jobs_; }
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;

   private:
    MemoryShares& shares_;
  };

  // What a run was promised and does not hold yet, until the end of its scope.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept { *this = std::move(other); }
    Share& operator=(Share&& other) noexcept {
      std::swap(shares_, other.shares_);
      std::swap(free_before_, other.free_before_);
      std::swap(promised_, other.promised_);
      std::swap(to_come_, other.to_come_);
      return *this;
    }
    ~Share() {
      if (shares_ != nullptr) shares_->to_come_ -= to_come_;
    }

    // The run holds from now on what has been taken since the promise; `free_bytes` are free.
    void CountHeld(int64_t free_bytes) {
      if (shares_ == nullptr) return;
      const int64_t held = std::clamp<int64_t>(free_before_ - free_bytes, 0, promised_);
      shares_->to_come_ += promised_ - held - to_come_;
      to_come_ = promised_ - held;
    }

   private:
    friend class MemoryShares;
    Share(MemoryShares& shares, int64_t bytes, int64_t free_bytes)
        : shares_(&shares), free_before_(free_bytes), promised_(bytes), to_come_(bytes) {
      shares.to_come_ += bytes;
    }

    MemoryShares* shares_ = nullptr;
    int64_t free_before_ = 0;
    int64_t promised_ = 0;
    int64_t to_come_ = 0;
  };

  // A job's place among those that wait for memory, until the end of its scope.
  class Place {
   public:
    explicit Place(MemoryShares& shares) : shares_(shares) {
      shares_.line_.push_back(this);
      ++shares_.waiting_;
    }
    ~Place() {
      shares_.line_.erase(std::find(shares_.line_.begin(), shares_.line_.end(), this));
      --shares_.waiting_;
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    bool first() const { return shares_.line_.front() == this; }

   private:
    MemoryShares& shares_;
  };

  // What another run may take where `free_bytes` are free.
  int64_t Left(int64_t free_bytes) const { return free_bytes - to_come_; }
  // REQUIRES: bytes <= Left(free_bytes).
  Share Promise(int64_t bytes, int64_t free_bytes) { return Share(*this, bytes, free_bytes); }

  int jobs() const { return jobs_; }
  int waiting() const { return waiting_; }

 private:
  int64_t to_come_ = 0;
  int jobs_ = 0;
  std::deque<const Place*> line_;
  std::atomic<int> waiting_ = 0;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_MEMORY_SHARES_H_
