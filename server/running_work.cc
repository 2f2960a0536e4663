#include "server/running_work.h"

#include <algorithm>
#include <vector>

namespace wardtune {
namespace {

constexpr size_t kRememberedDurations = 21;

}  // namespace

void RunningWork::Heard(const std::string& job, const std::string& stage) {
  absl::MutexLock lock(&mutex_);
  const absl::Duration now = clock_.Monotonic();
  const auto [found, is_new] = entries_.try_emplace(job, Entry{now, now, now, stage});
  Entry& entry = found->second;
  entry.heard = now;
  if (entry.stage == stage) return;
  EndStage(entry);
  entry.stage = stage;
  entry.stage_start = now;
}

void RunningWork::Finished(const std::string& job) {
  absl::MutexLock lock(&mutex_);
  const auto found = entries_.find(job);
  if (found == entries_.end()) return;
  EndStage(found->second);
  durations_.push_back(clock_.Monotonic() - found->second.start);
  if (durations_.size() > kRememberedDurations) durations_.pop_front();
  entries_.erase(found);
}

void RunningWork::Dropped(const std::string& job) {
  absl::MutexLock lock(&mutex_);
  entries_.erase(job);
}

absl::Duration RunningWork::OldestHeartbeatAge() {
  absl::MutexLock lock(&mutex_);
  absl::Duration oldest = absl::ZeroDuration();
  const absl::Duration now = clock_.Monotonic();
  for (const auto& [job, entry] : entries_) oldest = std::max(oldest, now - entry.heard);
  return oldest;
}

std::optional<absl::Duration> RunningWork::MedianDuration() {
  absl::MutexLock lock(&mutex_);
  if (durations_.empty()) return std::nullopt;
  std::vector<absl::Duration> sorted(durations_.begin(), durations_.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted[sorted.size() / 2];
}

void RunningWork::EndStage(const Entry& entry) {
  if (!entry.stage.empty()) {
    metrics_.RecordStage(entry.stage, clock_.Monotonic() - entry.stage_start);
  }
}

}  // namespace wardtune
