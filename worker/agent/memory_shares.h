// Memory that jobs beside each other have been promised for their training. What a step needs is
// not held between steps, so free memory alone does not tell what the next job may take.
// Thread safety: used with the turn (worker/agent/compute_turns.h).
#ifndef WARDTUNE_WORKER_AGENT_MEMORY_SHARES_H_
#define WARDTUNE_WORKER_AGENT_MEMORY_SHARES_H_

#include <algorithm>
#include <cstdint>
#include <utility>

namespace wardtune {

class MemoryShares {
 public:
  // A promise, until the end of its scope.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept { *this = std::move(other); }
    Share& operator=(Share&& other) noexcept {
      std::swap(shares_, other.shares_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Share() {
      if (shares_ != nullptr) shares_->promised_ -= bytes_;
    }

   private:
    friend class MemoryShares;
    Share(MemoryShares& shares, int64_t bytes) : shares_(&shares), bytes_(bytes) {}

    MemoryShares* shares_ = nullptr;
    int64_t bytes_ = 0;
  };

  // What another job may take where `free_bytes` are free now.
  int64_t Left(int64_t free_bytes) {
    if (promised_ == 0) free_without_any_ = free_bytes;
    return std::min(free_bytes, free_without_any_ - promised_);
  }
  // The object must outlive the share. REQUIRES: bytes > 0.
  Share Promise(int64_t bytes) {
    promised_ += bytes;
    return Share(*this, bytes);
  }
  int64_t promised() const { return promised_; }

 private:
  int64_t promised_ = 0;
  int64_t free_without_any_ = 0;  // when nothing was promised
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_MEMORY_SHARES_H_
