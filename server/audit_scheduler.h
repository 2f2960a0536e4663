// Keeps delivered adapters audited: queues those that are due, by the newest suites.
// Thread safety: all functions may be called from any thread; they block on the disk.
#ifndef WARDTUNE_SERVER_AUDIT_SCHEDULER_H_
#define WARDTUNE_SERVER_AUDIT_SCHEDULER_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/structured_log.h"
#include "storage/audit_store.h"
#include "storage/metadata_store.h"

namespace wardtune {

// Which suite takes another's place: the newest that can judge the base model as it is on offer (a
// judge with an adapter only on the files that this was trained on) and has prompts of all the
// categories that the adapter was last scored on, so that no category goes out of sight.
// That is the suite itself when there is no newer one.
absl::StatusOr<NewestSuite> LoadNewestSuites(MetadataStore& store);

// Queues the audits that are due, none when the plan's interval is 0. The caller calls it every few
// seconds; what is due depends on the store's clock alone.
absl::Status ScheduleAudits(MetadataStore& store, const AuditPlan& plan, StructuredLog& log);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_AUDIT_SCHEDULER_H_
