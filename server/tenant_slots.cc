#include "server/tenant_slots.h"

#include "absl/strings/str_cat.h"
#include "server/rpc/error_details.h"
#include "storage/error_reason.h"

namespace wardtune {

absl::StatusOr<std::unique_ptr<TenantSlots::Slot>> TenantSlots::Acquire(const std::string& tenant,
                                                                        const std::string& target) {
  absl::MutexLock lock(&mutex_);
  if (!target.empty() && targets_.contains(target)) {
    return WithReason(absl::AbortedError("another stream is uploading this; end it first"),
                      "UPLOAD_IN_PROGRESS");
  }
  if (open_[tenant] >= max_per_tenant_) {
    return QuotaExceeded(subject_, absl::StrCat("at most ", max_per_tenant_, " at once"));
  }
  ++open_[tenant];
  if (!target.empty()) targets_.insert(target);
  return std::make_unique<Slot>(*this, tenant, target);
}

void TenantSlots::Release(const std::string& tenant, const std::string& target) {
  absl::MutexLock lock(&mutex_);
  if (--open_[tenant] == 0) open_.erase(tenant);
  targets_.erase(target);
}

}  // namespace wardtune
