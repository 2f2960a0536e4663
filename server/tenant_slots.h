// How many costly calls of a kind a tenant has open at once, and, for uploads, which data set or
// artefact each one writes.
// Thread safety: all methods may be called from any thread.
#ifndef WARDTUNE_SERVER_TENANT_SLOTS_H_
#define WARDTUNE_SERVER_TENANT_SLOTS_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace wardtune {

class TenantSlots {
 public:
  // Held while a call runs; gives the place back when destroyed. Must not outlive the slots.
  class Slot {
   public:
    Slot(TenantSlots& slots, std::string tenant, std::string target)
        : slots_(slots), tenant_(std::move(tenant)), target_(std::move(target)) {}
    ~Slot() { slots_.Release(tenant_, target_); }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;

   private:
    TenantSlots& slots_;
    const std::string tenant_;
    const std::string target_;
  };

  // `subject` names the kind in refusals, for example "concurrent uploads".
  TenantSlots(int max_per_tenant, std::string subject)
      : max_per_tenant_(max_per_tenant), subject_(std::move(subject)) {}

  // Takes a place for writing `target` (a partial blob's id; empty: nothing is written).
  // Errors: RESOURCE_EXHAUSTED with QuotaFailure past the cap; ABORTED when another upload writes
  // the same target.
  absl::StatusOr<std::unique_ptr<Slot>> Acquire(const std::string& tenant,
                                                const std::string& target);

 private:
  void Release(const std::string& tenant, const std::string& target);

  const int max_per_tenant_;
  const std::string subject_;
  absl::Mutex mutex_;
  std::map<std::string, int> open_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> targets_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_TENANT_SLOTS_H_
