#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/handlers/worker_handlers.h"
#include "server/resource_names.h"
#include "server/row_scan_check.h"
#include "server/safety_gate.h"

namespace wardtune {
namespace {

constexpr size_t kMaxWorkerIdBytes = 63;
constexpr int kMaxBaseModels = 1000;
// Work that this process was not told of, as after a retry's delay, is found this soon.
constexpr absl::Duration kLookForWorkAfter = absl::Seconds(1);

v1::Lease ToMessage(const LeaseRecord& record, absl::Duration lease_duration) {
  v1::Lease lease;
  const JobRecord& job = record.job;
  lease.set_work(TenantResource(job.tenant, kJobs, job.id));
  lease.set_attempt(job.attempt);
  *lease.mutable_lease_duration() = ToProtoDuration(lease_duration);
  lease.set_base_model(BaseModelName(job.base_model));
  lease.set_base_sha256(job.base_sha256);
  for (const InputRecord& input : record.inputs) {
    v1::WorkInput* message = lease.add_inputs();
    message->set_kind(static_cast<v1::WorkInput::Kind>(input.kind));
    message->set_sha256(input.blob.sha256);
    message->set_size_bytes(input.blob.size_bytes);
  }
  const std::string vector = SecurityVectorName(job.vector, job.version);
  if (job.kind == JobKind::kFineTuning) {
    v1::FineTuningWork* work = lease.mutable_fine_tuning();
    *work->mutable_hyperparameters() = ParseStored<v1::Hyperparameters>(job.spec);
    work->set_security_vector_version(vector);
    work->set_security_vector_sha256(record.vector_plain_sha256);
    work->set_chain_length(job.chain_length);
    work->set_scored_checkpoints(ScoredCheckpoints(record.scan_policy.has_value()
                                                       ? wardtune::ToMessage(*record.scan_policy)
                                                       : v1::SafetyPolicy()));
    if (!job.start_adapter_id.empty()) {
      work->mutable_start_adapter()->set_name(
          TenantResource(job.tenant, kAdapters, job.start_adapter_id));
      work->mutable_start_adapter()->set_sha256(job.start_tensors_sha256);
      // PinStart takes no start of other files.
      work->mutable_start_adapter()->set_base_sha256(job.base_sha256);
    }
    if (std::optional<v1::RowScanWork> scan = ScanTerms(record)) {
      *work->mutable_row_scan() = *std::move(scan);
      if (!job.row_scan.empty()) {
        v1::RowScanOutcome& recorded = *work->mutable_row_scan()->mutable_recorded();
        *recorded.mutable_report() = ParseStored<v1::RowScanReport>(job.row_scan);
        recorded.set_dropped(record.scan_dropped);
      }
    }
  } else if (job.kind == JobKind::kAudit) {
    const AdapterRecord& audited = *record.audited_adapter;
    v1::AuditWork* work = lease.mutable_audit();
    work->mutable_adapter()->set_name(TenantResource(audited.tenant, kAdapters, audited.id));
    work->mutable_adapter()->set_sha256(TensorsDigestOf(audited));
    work->mutable_adapter()->set_base_sha256(audited.base_sha256);
    *work->mutable_hyperparameters() = ParseStored<v1::Hyperparameters>(audited.spec);
  } else {
    v1::SecurityVectorWork* work = lease.mutable_security_vector();
    work->set_version(vector);
    *work->mutable_recipe() = ParseStored<v1::SecurityVectorRecipe>(job.spec);
    work->set_added_to_sha256(record.vector_plain_sha256);
  }
  return lease;
}

// One LeaseJob call, which may look for work many times.
class Search : public std::enable_shared_from_this<Search> {
 public:
  Search(HandlerContext& context, CallRunner& runner, const v1::LeaseJobRequest& request,
         v1::LeaseJobResponse& response, absl::AnyInvocable<bool() const> still_there,
         CallRunner::Done done)
      : context_(context),
        runner_(runner),
        request_(request),
        response_(response),
        still_there_(std::move(still_there)),
        done_(std::move(done)) {}

  void Start() {
    if (const absl::Status status = ReadRequest(); !status.ok()) return done_(status);
    Look();
  }

 private:
  absl::Status ReadRequest() {
    if (request_.worker_id().empty() || request_.worker_id().size() > kMaxWorkerIdBytes) {
      return InvalidField("worker_id", "must be 1 to 63 bytes");
    }
    if (request_.base_models_size() == 0 || request_.base_models_size() > kMaxBaseModels) {
      return InvalidField("base_models", "must name 1 to 1000 base models");
    }
    for (const std::string& name : request_.base_models()) {
      WT_ASSIGN_OR_RETURN(std::string id, ParseBaseModelName(name, "base_models"));
      base_models_.push_back(std::move(id));
    }
    const absl::Duration wait =
        absl::Seconds(request_.wait().seconds()) + absl::Nanoseconds(request_.wait().nanos());
    if (wait < absl::ZeroDuration() || wait > context_.limits.max_lease_wait) {
      return InvalidField("wait", "must be 0 to 30 s");
    }
    deadline_ = context_.clock.Monotonic() + wait;
    return absl::OkStatus();
  }

  void Look() {
    // Work given to a worker that left would lie idle until its lease ends.
    if (!still_there_()) return done_(absl::CancelledError("the caller is gone"));
    const uint64_t generation = context_.waits.Generation(kWorkTopic);
    absl::StatusOr<std::optional<LeaseRecord>> lease = context_.store.work().LeaseNext(
        request_.worker_id(), base_models_, context_.limits.lease_duration);
    if (!lease.ok()) return done_(lease.status());
    if (lease->has_value()) return Answer(**lease);
    const absl::Duration left = deadline_ - context_.clock.Monotonic();
    if (left <= absl::ZeroDuration() || runner_.draining()) return done_(absl::OkStatus());
    context_.waits.Wait(kWorkTopic, generation, std::min(left, kLookForWorkAfter),
                        [self = shared_from_this()] {
                          if (!self->runner_.Schedule(Access::kWorker, [self] { self->Look(); })) {
                            self->done_(CallRunner::Overloaded());
                          }
                        });
  }

  void Answer(const LeaseRecord& record) {
    const JobRecord& job = record.job;
    // Audits wait by design.
    if (job.attempt == 1 && job.kind != JobKind::kAudit)
      context_.metrics.RecordQueueWait(job.start_time - job.create_time);
    context_.running.Heard(job.id, "preparing");
    *response_.mutable_lease() = ToMessage(record, context_.limits.lease_duration);
    done_(absl::OkStatus());
  }

  HandlerContext& context_;
  CallRunner& runner_;
  const v1::LeaseJobRequest& request_;
  v1::LeaseJobResponse& response_;
  const absl::AnyInvocable<bool() const> still_there_;
  CallRunner::Done done_;
  std::vector<std::string> base_models_;
  absl::Duration deadline_;  // on the monotonic clock
};

}  // namespace

void LeaseJob(HandlerContext& context, CallRunner& runner, const v1::LeaseJobRequest& request,
              v1::LeaseJobResponse& response, absl::AnyInvocable<bool() const> still_there,
              CallRunner::Done done) {
  std::make_shared<Search>(context, runner, request, response, std::move(still_there),
                           std::move(done))
      ->Start();
}

}  // namespace wardtune
