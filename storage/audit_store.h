// Audits of delivered adapters: which are due, and what they found.
//
// An audit is a job of JobKind::kAudit: it waits, is leased, retried and completed as the others
// are (WorkQueue). An adapter has at most one that is queued or running, and what an ended one
// found is never changed. Thread safety and errors: as metadata_store.h says.
#ifndef WARDTUNE_STORAGE_AUDIT_STORE_H_
#define WARDTUNE_STORAGE_AUDIT_STORE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/metadata_store.h"

namespace wardtune {

// The suite by which an adapter of `base_model` as it is on offer is scored next, when it was last
// scored by `last_suite`. Must be quick and must not call the store.
using NewestSuite =
    std::function<std::string(const std::string& base_model, const std::string& last_suite)>;

struct AuditPlan {
  absl::Duration interval;  // An adapter is due this long after it was last scored or tried.
  int32_t max_open = 0;     // Audits of one base model that may be queued or running.
};

class AuditStore {
 public:
  virtual ~AuditStore() = default;

  // Queues an audit for each delivered adapter that is due, those that wait longest first, as many
  // as the plan allows. Due is also one whose newest suite is another than it was last scored or
  // tried by. Adapters that the gate holds back, that have an open audit, or whose base model is
  // not on offer with the digest that they were trained on are never due. Returns the new jobs.
  virtual absl::StatusOr<std::vector<JobRecord>> QueueDueAudits(const AuditPlan& plan,
                                                                const NewestSuite& newest) = 0;
  // Queues one now, with its audit event. NOT_FOUND for a missing adapter; FAILED_PRECONDITION for
  // one that can have no audit, as above, saying why; RESOURCE_EXHAUSTED when `max_open` audits of
  // its base model are queued or running.
  virtual absl::StatusOr<Answer> QueueAudit(const std::string& tenant,
                                            const std::string& adapter_id, int32_t max_open,
                                            const NewestSuite& newest, const AuditEntry& audit,
                                            const RequestKey& key,
                                            Encode<AdapterAuditRecord> encode) = 0;
  // Newest first. NOT_FOUND when the tenant has no such adapter.
  virtual absl::StatusOr<Page<AdapterAuditRecord>> ListAudits(const std::string& tenant,
                                                              const std::string& adapter_id,
                                                              const PageRequest& page) = 0;

  // Of all tenants, newest first; the caller has checked the role. `drifted`: only the last audit
  // with a score of each adapter, where that is DRIFTED.
  virtual absl::StatusOr<Page<AdapterAuditRecord>> ListAuditsOfAll(bool drifted,
                                                                   const PageRequest& page) = 0;
  // Adapters whose last audit with a score is DRIFTED.
  virtual absl::StatusOr<int64_t> CountDriftedAdapters() = 0;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_AUDIT_STORE_H_
