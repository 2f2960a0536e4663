#include "server/rpc/call_runner.h"

#include "absl/strings/str_cat.h"
#include "server/api_key.h"
#include "server/rpc/error_details.h"
#include "storage/error_reason.h"

namespace wardtune {
namespace {

constexpr absl::Duration kAuthorizeEvery = absl::Seconds(5);

std::string_view Header(const grpc::CallbackServerContext& context, const char* name) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(name);
  if (found == metadata.end()) return {};
  return {found->second.data(), found->second.size()};
}

// `ipv4:10.0.0.7:51234` without the port, which changes with every connection.
std::string PeerHost(const grpc::CallbackServerContext& context) {
  std::string peer = context.peer();
  return peer.substr(0, peer.rfind(':'));
}

bool RoleMay(KeyRole role, Access access) {
  switch (access) {
    case Access::kCustomer:
      return role == KeyRole::kTenant || role == KeyRole::kProvider;
    case Access::kProvider:
      return role == KeyRole::kProvider;
    case Access::kWorker:
      return role == KeyRole::kWorker;
  }
  return false;
}

}  // namespace

CallRecord::CallRecord(CallRunner& runner, grpc::CallbackServerContext& context,
                       const Method& method)
    : runner_(runner),
      context_(context),
      method_(method),
      start_(runner.clock_.Monotonic()),
      known_worker_(method.access == Access::kWorker &&
                    runner.authenticator_.IsKnownWorker(Header(context, "authorization"))) {}

absl::Status CallRecord::Authorize() {
  absl::StatusOr<Caller> caller =
      runner_.authenticator_.Authenticate(Header(context_, "authorization"), PeerHost(context_));
  if (!caller.ok()) return caller.status();
  caller_ = *std::move(caller);
  authorized_at_ = runner_.clock_.Monotonic();
  if (RoleMay(caller_.role, method_.access)) {
    known_worker_ = method_.access == Access::kWorker;
    return absl::OkStatus();
  }
  return WithReason(
      absl::PermissionDeniedError(absl::StrCat("a ", std::string(KeyRoleName(caller_.role)),
                                               " key may not call ", method_.name)),
      "ROLE_NOT_ALLOWED");
}

absl::Status CallRecord::AuthorizeAgain() {
  if (runner_.clock_.Monotonic() - authorized_at_ < kAuthorizeEvery) return absl::OkStatus();
  return Authorize();
}

grpc::Status CallRecord::Finish(const absl::Status& status) {
  const absl::Duration duration = runner_.clock_.Monotonic() - start_;
  const std::string code = absl::StatusCodeToString(status.code());
  runner_.metrics_.RecordRpc(method_.name, code, duration);
  runner_.log_.Write("rpc", {{"method", std::string(method_.name)},
                             {"code", code},
                             {"reason", status.ok() ? std::string() : ReasonOrCode(status)},
                             {"milliseconds", absl::ToDoubleMilliseconds(duration)},
                             {"key", caller_.key_id},
                             {"tenant", caller_.tenant_id}});
  if (status.code() == absl::StatusCode::kPermissionDenied ||
      status.code() == absl::StatusCode::kUnauthenticated ||
      status.code() == absl::StatusCode::kNotFound) {
    runner_.log_.Write("audit", {{"action", std::string("access_denied")},
                                 {"method", std::string(method_.name)},
                                 {"code", code},
                                 {"key", caller_.key_id},
                                 {"tenant", caller_.tenant_id},
                                 {"peer", PeerHost(context_)}});
  } else if (status.ok() && method_.access == Access::kProvider) {
    runner_.log_.Write("audit", {{"action", std::string("provider_call")},
                                 {"method", std::string(method_.name)},
                                 {"key", caller_.key_id}});
  }
  if (status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kUnknown ||
      status.code() == absl::StatusCode::kUnavailable) {
    // The client is not told; statuses are made of ids, paths and SQL, never of customers' text.
    runner_.log_.Write("failure", {{"method", std::string(method_.name)},
                                   {"detail", std::string(status.message())}});
  }
  return ToGrpcStatus(status);
}

absl::Status CallRunner::Overloaded() {
  return RetryAfter(
      WithReason(absl::UnavailableError("the server is busy; try again"), "SERVER_BUSY"),
      absl::Seconds(1));
}

grpc::ServerUnaryReactor* CallRunner::RunUnary(
    grpc::CallbackServerContext& context, const Method& method,
    absl::AnyInvocable<void(const Caller&, Done)> handler) {
  grpc::ServerUnaryReactor* reactor = context.DefaultReactor();
  auto record = std::make_shared<CallRecord>(*this, context, method);
  auto work = [record, reactor, handler = std::move(handler)]() mutable {
    if (const absl::Status allowed = record->Authorize(); !allowed.ok()) {
      reactor->Finish(record->Finish(allowed));
      return;
    }
    if (record->cancelled()) {
      reactor->Finish(record->Finish(absl::CancelledError("the caller is gone")));
      return;
    }
    handler(record->caller(), [record, reactor](const absl::Status& status) {
      reactor->Finish(record->Finish(status));
    });
  };
  if (!Schedule(record->pool(), std::move(work))) reactor->Finish(record->Finish(Overloaded()));
  return reactor;
}

}  // namespace wardtune
