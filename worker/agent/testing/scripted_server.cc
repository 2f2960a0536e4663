#include "worker/agent/testing/scripted_server.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/sha256.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace wardtune::testing {

ScriptedServer::ScriptedServer() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(static_cast<v1::WorkerService::Service*>(this));
  server_ = builder.BuildAndStart();
}

ScriptedServer::~ScriptedServer() { server_->Shutdown(); }

std::string ScriptedServer::address() const { return absl::StrCat("127.0.0.1:", port_); }

void ScriptedServer::Offer(v1::Lease lease, std::map<v1::WorkInput::Kind, std::string> inputs) {
  lease.clear_inputs();
  for (const auto& [kind, bytes] : inputs) {
    v1::WorkInput& input = *lease.add_inputs();
    input.set_kind(kind);
    input.set_sha256(Sha256Hex(bytes));
    input.set_size_bytes(static_cast<int64_t>(bytes.size()));
  }
  absl::MutexLock lock(&mutex_);
  offered_ = std::move(lease);
  inputs_ = std::move(inputs);
  completed_.clear();
  failures_.clear();
  artifacts_.clear();
  uploads_.clear();
  on_upload_ = nullptr;
}

void ScriptedServer::OnUpload(
    std::function<grpc::Status(const v1::UploadArtifactRequest::Header&)> call) {
  absl::MutexLock lock(&mutex_);
  on_upload_ = std::move(call);
}

void ScriptedServer::OnComplete(std::function<grpc::Status(const v1::CompleteJobRequest&)> call) {
  absl::MutexLock lock(&mutex_);
  on_complete_ = std::move(call);
}

void ScriptedServer::OnFailure(std::function<void()> call) {
  absl::MutexLock lock(&mutex_);
  on_failure_ = std::move(call);
}

void ScriptedServer::BreakNextLease(grpc::StatusCode code) {
  absl::MutexLock lock(&mutex_);
  lease_code_ = code;
}

bool ScriptedServer::AwaitFailure() {
  absl::MutexLock lock(&mutex_);
  const auto failed = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !failures_.empty(); };
  return mutex_.AwaitWithTimeout(absl::Condition(&failed), absl::Seconds(30));
}

void ScriptedServer::Cancel() {
  absl::MutexLock lock(&mutex_);
  cancel_ = true;
}

void ScriptedServer::BreakNextFetch() {
  absl::MutexLock lock(&mutex_);
  break_fetch_ = true;
}

void ScriptedServer::AwaitHeartbeat() {
  absl::MutexLock lock(&mutex_);
  // Two: the first may have been on its way already.
  const int wanted = heartbeats_ + 2;
  const auto beaten = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return heartbeats_ >= wanted; };
  mutex_.Await(absl::Condition(&beaten));
}

grpc::Status ScriptedServer::Error(grpc::StatusCode code, const std::string& reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("wardtune");
  google::rpc::Status details;
  details.set_code(static_cast<int>(code));
  details.add_details()->PackFrom(info);
  return {code, reason, details.SerializeAsString()};
}

grpc::Status ScriptedServer::LeaseLost() {
  return Error(grpc::StatusCode::FAILED_PRECONDITION, "LEASE_LOST");
}

std::optional<v1::CompleteJobRequest> ScriptedServer::completed() const {
  absl::MutexLock lock(&mutex_);
  if (completed_.empty()) return std::nullopt;
  return completed_.back();
}

size_t ScriptedServer::completions() const {
  absl::MutexLock lock(&mutex_);
  return completed_.size();
}

std::vector<v1::FailJobRequest> ScriptedServer::failures() const {
  absl::MutexLock lock(&mutex_);
  return failures_;
}

std::string ScriptedServer::artifact(v1::UploadArtifactRequest::Kind kind) const {
  absl::MutexLock lock(&mutex_);
  const auto found = artifacts_.find(kind);
  return found == artifacts_.end() ? "" : found->second;
}

int ScriptedServer::uploads(v1::UploadArtifactRequest::Kind kind) const {
  absl::MutexLock lock(&mutex_);
  const auto found = uploads_.find(kind);
  return found == uploads_.end() ? 0 : found->second;
}

v1::HeartbeatRequest ScriptedServer::last_heartbeat() const {
  absl::MutexLock lock(&mutex_);
  return last_heartbeat_;
}

v1::RowScanOutcome ScriptedServer::reported_row_scan() const {
  absl::MutexLock lock(&mutex_);
  return reported_row_scan_;
}

std::string ScriptedServer::authorization() const {
  absl::MutexLock lock(&mutex_);
  return authorization_;
}

grpc::Status ScriptedServer::LeaseJob(grpc::ServerContext* context,
                                      const v1::LeaseJobRequest* request,
                                      v1::LeaseJobResponse* response) {
  absl::MutexLock lock(&mutex_);
  lease_requests_.emplace_back(request->base_models().begin(), request->base_models().end());
  const auto key = context->client_metadata().find("authorization");
  if (key != context->client_metadata().end()) {
    authorization_ = std::string(key->second.data(), key->second.size());
  }
  const grpc::StatusCode code = std::exchange(lease_code_, grpc::StatusCode::OK);
  if (code != grpc::StatusCode::OK) return {code, "scripted"};
  // In slices, as a call that was cancelled wakes nobody.
  const auto offered = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return offered_.has_value(); };
  absl::Duration left = absl::Seconds(request->wait().seconds());
  ++waiting_for_lease_;
  for (constexpr absl::Duration kSlice = absl::Milliseconds(2);
       left > absl::ZeroDuration() && !context->IsCancelled(); left -= kSlice) {
    if (mutex_.AwaitWithTimeout(absl::Condition(&offered), kSlice)) break;
  }
  --waiting_for_lease_;
  if (context->IsCancelled()) {
    ++interrupted_leases_;
    return grpc::Status::CANCELLED;
  }
  if (offered_.has_value()) *response->mutable_lease() = *std::exchange(offered_, std::nullopt);
  return grpc::Status::OK;
}

std::vector<std::vector<std::string>> ScriptedServer::lease_requests() const {
  absl::MutexLock lock(&mutex_);
  return lease_requests_;
}

int ScriptedServer::waiting_for_lease() const {
  absl::MutexLock lock(&mutex_);
  return waiting_for_lease_;
}

int ScriptedServer::interrupted_leases() const {
  absl::MutexLock lock(&mutex_);
  return interrupted_leases_;
}

grpc::Status ScriptedServer::Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest* request,
                                       v1::HeartbeatResponse* response) {
  absl::MutexLock lock(&mutex_);
  last_heartbeat_ = *request;
  if (request->has_row_scan()) reported_row_scan_ = request->row_scan();
  ++heartbeats_;
  response->set_cancel_requested(cancel_);
  return grpc::Status::OK;
}

void ScriptedServer::Quarantine(int count) {
  absl::MutexLock lock(&mutex_);
  quarantine_ = count;
}

grpc::Status ScriptedServer::JudgeScores(grpc::ServerContext*, const v1::JudgeScoresRequest*,
                                         v1::JudgeScoresResponse* response) {
  absl::MutexLock lock(&mutex_);
  const bool harmful = quarantine_ > 0;
  if (harmful) --quarantine_;
  response->mutable_gate()->set_state(harmful ? v1::SafetyGate::STATE_QUARANTINED
                                              : v1::SafetyGate::STATE_AVAILABLE);
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::FetchInput(grpc::ServerContext*, const v1::FetchInputRequest* request,
                                        grpc::ServerWriter<v1::FetchInputResponse>* writer) {
  std::string bytes;
  bool broken = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = inputs_.find(request->kind());
    if (found == inputs_.end()) return {grpc::StatusCode::NOT_FOUND, "no such input"};
    bytes = found->second.substr(request->offset());
    broken = std::exchange(break_fetch_, false);
  }
  v1::FetchInputResponse response;
  response.set_chunk(broken ? bytes.substr(0, bytes.size() / 2) : bytes);
  writer->Write(response);
  return broken ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken") : grpc::Status::OK;
}

grpc::Status ScriptedServer::UploadArtifact(grpc::ServerContext*,
                                            grpc::ServerReader<v1::UploadArtifactRequest>* reader,
                                            v1::UploadArtifactResponse* response) {
  v1::UploadArtifactRequest request;
  if (!reader->Read(&request)) return {grpc::StatusCode::INVALID_ARGUMENT, "no header"};
  const v1::UploadArtifactRequest::Header header = request.header();
  std::string bytes;
  while (reader->Read(&request)) bytes += request.chunk();
  std::function<grpc::Status(const v1::UploadArtifactRequest::Header&)> call;
  {
    absl::MutexLock lock(&mutex_);
    call = on_upload_;
  }
  if (call) {
    if (grpc::Status status = call(header); !status.ok()) return status;
  }
  response->set_sha256(Sha256Hex(bytes));
  absl::MutexLock lock(&mutex_);
  artifacts_[header.kind()] = std::move(bytes);
  ++uploads_[header.kind()];
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::CompleteJob(grpc::ServerContext*,
                                         const v1::CompleteJobRequest* request,
                                         v1::CompleteJobResponse*) {
  std::function<grpc::Status(const v1::CompleteJobRequest&)> call;
  {
    absl::MutexLock lock(&mutex_);
    call = on_complete_;
  }
  if (call) {
    if (grpc::Status status = call(*request); !status.ok()) return status;
  }
  absl::MutexLock lock(&mutex_);
  completed_.push_back(*request);
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::FailJob(grpc::ServerContext*, const v1::FailJobRequest* request,
                                     v1::FailJobResponse*) {
  absl::MutexLock lock(&mutex_);
  failures_.push_back(*request);
  const auto call = on_failure_;
  mutex_.Unlock();
  if (call) call();
  mutex_.Lock();
  return grpc::Status::OK;
}

}  // namespace wardtune::testing
