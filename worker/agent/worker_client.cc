#include "worker/agent/worker_client.h"

#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace wardtune {
namespace {

constexpr size_t kChunkBytes = 1 << 20;
constexpr int32_t kPageSize = 1000;
constexpr absl::Duration kCallDeadline = absl::Seconds(30);
// A stream has ten minutes and the time that its bytes take on a slow line.
constexpr absl::Duration kStreamDeadline = absl::Minutes(10);
constexpr int64_t kSlowestBytesPerSecond = 1 << 20;
constexpr absl::Duration kFirstBackoff = absl::Milliseconds(100);
constexpr absl::Duration kLongestBackoff = absl::Seconds(5);
constexpr const char* kRpcReasonUrl = "wardtune/rpc_reason";

absl::Duration StreamDeadline(int64_t bytes) {
  return kStreamDeadline + absl::Seconds(bytes / kSlowestBytesPerSecond);
}

absl::Status FromGrpc(const grpc::Status& status, std::string_view rpc) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat(std::string(rpc), ": ", status.error_message()));
  google::rpc::Status details;
  if (details.ParseFromString(status.error_details())) {
    for (const auto& any : details.details()) {
      google::rpc::ErrorInfo info;
      if (any.UnpackTo(&info)) result.SetPayload(kRpcReasonUrl, absl::Cord(info.reason()));
    }
  }
  return result;
}

std::shared_ptr<grpc::Channel> Connect(const WorkerClient::Options& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!options.ca_certificate.empty()) {
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = options.ca_certificate;
    credentials = grpc::SslCredentials(ssl);
  }
  return grpc::CreateCustomChannel(options.server, credentials, arguments);
}

}  // namespace

bool IsTransient(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kUnavailable ||
      status.code() == absl::StatusCode::kDeadlineExceeded) {
    return true;
  }
  // Both pass by themselves; the second is the server still holding a stream that broke.
  const auto reason = status.GetPayload(kRpcReasonUrl);
  return reason.has_value() && (*reason == "SERVER_BUSY" || *reason == "UPLOAD_IN_PROGRESS");
}

bool IsLeaseLost(const absl::Status& status) {
  const auto reason = status.GetPayload(kRpcReasonUrl);
  return status.code() == absl::StatusCode::kFailedPrecondition && reason.has_value() &&
         *reason == "LEASE_LOST";
}

// A context with the key and a deadline.
class WorkerClient::Call {
 public:
  Call(const Options& options, absl::Duration deadline) {
    context_.AddMetadata("authorization", absl::StrCat("Bearer ", options.api_key));
    context_.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(deadline));
  }
  grpc::ClientContext* context() { return &context_; }

 private:
  grpc::ClientContext context_;
};

WorkerClient::WorkerClient(Options options, Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      stub_(v1::WorkerService::NewStub(Connect(options_))) {}

absl::StatusOr<std::optional<v1::Lease>> WorkerClient::LeaseJob(
    const std::vector<std::string>& base_models, absl::Duration wait) {
  v1::LeaseJobRequest request;
  request.set_worker_id(options_.worker_id);
  for (const std::string& model : base_models) request.add_base_models(model);
  *request.mutable_wait() =
      google::protobuf::util::TimeUtil::MillisecondsToDuration(absl::ToInt64Milliseconds(wait));

  Call call(options_, wait + kCallDeadline);
  {
    absl::MutexLock lock(&mutex_);
    if (leasing_stopped_) return absl::CancelledError("LeaseJob: the worker is stopping");
    leasing_.insert(call.context());
  }
  const absl::Cleanup forget = [&] {
    absl::MutexLock lock(&mutex_);
    leasing_.erase(call.context());
  };
  v1::LeaseJobResponse response;
  WT_RETURN_IF_ERROR(FromGrpc(stub_->LeaseJob(call.context(), request, &response), "LeaseJob"));
  if (!response.has_lease()) return std::nullopt;
  return std::move(*response.mutable_lease());
}

void WorkerClient::InterruptLeasing() {
  absl::MutexLock lock(&mutex_);
  for (grpc::ClientContext* context : leasing_) context->TryCancel();
}

void WorkerClient::StopLeasing() {
  {
    absl::MutexLock lock(&mutex_);
    leasing_stopped_ = true;
  }
  InterruptLeasing();
}

absl::StatusOr<v1::HeartbeatResponse> WorkerClient::Heartbeat(const v1::HeartbeatRequest& request) {
  Call call(options_, absl::Seconds(10));
  v1::HeartbeatResponse response;
  WT_RETURN_IF_ERROR(FromGrpc(stub_->Heartbeat(call.context(), request, &response), "Heartbeat"));
  return response;
}

template <typename Response, typename Open>
absl::Status WorkerClient::ReceiveOnce(const char* rpc, Open open, int64_t limit,
                                       std::string& bytes) {
  Call call(options_, StreamDeadline(limit));
  const auto reader = open(call.context());
  Response response;
  while (reader->Read(&response)) {
    if (static_cast<int64_t>(bytes.size() + response.chunk().size()) > limit) {
      call.context()->TryCancel();
      reader->Finish();
      return absl::DataLossError(
          absl::StrCat(rpc, ": the server sent more bytes than it announced"));
    }
    bytes += response.chunk();
  }
  return FromGrpc(reader->Finish(), rpc);
}

absl::StatusOr<std::string> WorkerClient::FetchInput(const v1::Lease& lease,
                                                     const v1::WorkInput& input,
                                                     const GiveUp& give_up) {
  std::string bytes;
  WT_RETURN_IF_ERROR(Retry(give_up, [&] {
    v1::FetchInputRequest request;
    request.set_work(lease.work());
    request.set_attempt(lease.attempt());
    request.set_kind(input.kind());
    request.set_offset(static_cast<int64_t>(bytes.size()));
    return ReceiveOnce<v1::FetchInputResponse>(
        "FetchInput",
        [&](grpc::ClientContext* context) { return stub_->FetchInput(context, request); },
        input.size_bytes(), bytes);
  }));
  if (static_cast<int64_t>(bytes.size()) != input.size_bytes() ||
      Sha256Hex(bytes) != input.sha256()) {
    return absl::DataLossError(absl::StrCat("FetchInput: ", v1::WorkInput::Kind_Name(input.kind()),
                                            " has not the digest that the lease names"));
  }
  return bytes;
}

template <typename Request, typename Response, typename Open>
absl::Status WorkerClient::SendOnce(const char* rpc, Open open, const Request& header,
                                    std::string_view bytes, Response& response) {
  Call call(options_, StreamDeadline(static_cast<int64_t>(bytes.size())));
  const auto writer = open(call.context(), &response);
  bool writable = writer->Write(header);
  for (size_t at = 0; writable && at < bytes.size(); at += kChunkBytes) {
    Request request;
    request.set_chunk(std::string(bytes.substr(at, kChunkBytes)));
    writable = writer->Write(request);
  }
  // A failed write means that the server has answered; Finish() tells what.
  if (writable) writer->WritesDone();
  return FromGrpc(writer->Finish(), rpc);
}

absl::Status WorkerClient::UploadArtifact(const v1::Lease& lease,
                                          v1::UploadArtifactRequest::Kind kind,
                                          std::string_view bytes, int64_t step,
                                          const GiveUp& give_up) {
  const std::string sha256 = Sha256Hex(bytes);
  v1::UploadArtifactRequest request;
  v1::UploadArtifactRequest::Header& header = *request.mutable_header();
  header.set_work(lease.work());
  header.set_attempt(lease.attempt());
  header.set_kind(kind);
  header.set_sha256(sha256);
  header.set_size_bytes(static_cast<int64_t>(bytes.size()));
  header.set_step(step);
  v1::UploadArtifactResponse response;
  WT_RETURN_IF_ERROR(Retry(give_up, [&] {
    return SendOnce(
        "UploadArtifact",
        [&](auto* context, auto* answer) { return stub_->UploadArtifact(context, answer); },
        request, bytes, response);
  }));
  if (response.sha256() != sha256) {
    return absl::DataLossError("UploadArtifact: the server stored other bytes than were sent");
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::SafetyGate> WorkerClient::JudgeScores(const v1::JudgeScoresRequest& request,
                                                         const GiveUp& give_up) {
  v1::JudgeScoresResponse response;
  WT_RETURN_IF_ERROR(Retry(give_up, [&] {
    Call call(options_, kCallDeadline);
    return FromGrpc(stub_->JudgeScores(call.context(), request, &response), "JudgeScores");
  }));
  return std::move(*response.mutable_gate());
}

absl::Status WorkerClient::CompleteJob(const v1::CompleteJobRequest& request,
                                       const GiveUp& give_up) {
  return Retry(give_up, [&] {
    Call call(options_, kCallDeadline);
    v1::CompleteJobResponse response;
    return FromGrpc(stub_->CompleteJob(call.context(), request, &response), "CompleteJob");
  });
}

absl::Status WorkerClient::FailJob(const v1::FailJobRequest& request, const GiveUp& give_up) {
  return Retry(give_up, [&] {
    Call call(options_, kCallDeadline);
    v1::FailJobResponse response;
    return FromGrpc(stub_->FailJob(call.context(), request, &response), "FailJob");
  });
}

absl::StatusOr<std::vector<v1::SealedVersion>> WorkerClient::ListSealedVersions(
    const GiveUp& give_up) {
  std::vector<v1::SealedVersion> versions;
  v1::ListSealedVersionsRequest request;
  request.set_page_size(kPageSize);
  do {
    v1::ListSealedVersionsResponse page;
    WT_RETURN_IF_ERROR(Retry(give_up, [&] {
      Call call(options_, kCallDeadline);
      return FromGrpc(stub_->ListSealedVersions(call.context(), request, &page),
                      "ListSealedVersions");
    }));
    versions.insert(versions.end(), page.versions().begin(), page.versions().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return versions;
}

absl::StatusOr<std::string> WorkerClient::FetchSealedVersion(const v1::SealedVersion& version,
                                                             const GiveUp& give_up) {
  std::string bytes;
  WT_RETURN_IF_ERROR(Retry(give_up, [&] {
    v1::FetchSealedVersionRequest request;
    request.set_name(version.name());
    request.set_sha256(version.sha256());
    request.set_offset(static_cast<int64_t>(bytes.size()));
    return ReceiveOnce<v1::FetchSealedVersionResponse>(
        "FetchSealedVersion",
        [&](grpc::ClientContext* context) { return stub_->FetchSealedVersion(context, request); },
        version.size_bytes(), bytes);
  }));
  if (static_cast<int64_t>(bytes.size()) != version.size_bytes() ||
      Sha256Hex(bytes) != version.sha256()) {
    return absl::DataLossError("FetchSealedVersion: the bytes have not the digest that was listed");
  }
  return bytes;
}

absl::Status WorkerClient::ReplaceSealedVersion(const v1::SealedVersion& replaced,
                                                std::string_view bytes, const GiveUp& give_up) {
  v1::ReplaceSealedVersionRequest request;
  v1::ReplaceSealedVersionRequest::Header& header = *request.mutable_header();
  header.set_name(replaced.name());
  header.set_replaced_sha256(replaced.sha256());
  header.set_sha256(Sha256Hex(bytes));
  header.set_size_bytes(static_cast<int64_t>(bytes.size()));
  v1::ReplaceSealedVersionResponse response;
  WT_RETURN_IF_ERROR(Retry(give_up, [&] {
    return SendOnce(
        "ReplaceSealedVersion",
        [&](auto* context, auto* answer) { return stub_->ReplaceSealedVersion(context, answer); },
        request, bytes, response);
  }));
  if (response.version().sha256() != header.sha256()) {
    return absl::DataLossError(
        "ReplaceSealedVersion: the server stored other bytes than were sent");
  }
  return absl::OkStatus();
}

absl::Status WorkerClient::Retry(const GiveUp& give_up, const std::function<absl::Status()>& call) {
  absl::Duration backoff = kFirstBackoff;
  while (true) {
    absl::Status status = call();
    if (!IsTransient(status) || give_up()) return status;
    clock_.Sleep(backoff);
    backoff = std::min(2 * backoff, kLongestBackoff);
  }
}

}  // namespace wardtune
