#include "server/rpc/error_details.h"

#include <grpcpp/support/status.h>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "storage/error_reason.h"

namespace wardtune {
namespace {

constexpr char kTypePrefix[] = "type.googleapis.com/";
constexpr char kErrorDomain[] = "wardtune";
// The status travels in HTTP/2 trailers, which clients cap at 8 KiB.
constexpr size_t kMaxViolations = 8;

template <typename Message>
std::string TypeUrl() {
  return absl::StrCat(kTypePrefix, Message::descriptor()->full_name());
}

template <typename Message>
void Attach(absl::Status& status, const Message& detail) {
  status.SetPayload(TypeUrl<Message>(), absl::Cord(detail.SerializeAsString()));
}

// Codes whose text was written for the caller; the others may quote the operating system.
bool TextIsForTheCaller(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kPermissionDenied:
      return false;
    default:
      return true;
  }
}

std::string PublicText(const absl::Status& status, bool has_reason) {
  const bool never =
      status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kUnknown;
  if (!never && (has_reason || TextIsForTheCaller(status.code()))) {
    return std::string(status.message());
  }
  return absl::StrCat("the server failed (", absl::StatusCodeToString(status.code()),
                      "); its log says why");
}

google::rpc::QuotaFailure QuotaDetail(const std::string& subject, const std::string& description) {
  google::rpc::QuotaFailure detail;
  auto* violation = detail.add_violations();
  violation->set_subject(subject);
  violation->set_description(description);
  return detail;
}

// What a quota of the store is called; empty for every other reason.
std::string QuotaSubject(std::string_view reason) {
  if (reason == kReasonActiveJobsQuota) return "active jobs";
  if (reason == kReasonDatasetBytesQuota) return "data set bytes";
  if (reason == kReasonDatasetsQuota) return "data sets";
  return "";
}

}  // namespace

absl::Status InvalidFields(const std::vector<FieldViolation>& violations) {
  google::rpc::BadRequest detail;
  std::string text;
  for (const FieldViolation& violation : violations) {
    if (detail.field_violations_size() == static_cast<int>(kMaxViolations)) {
      absl::StrAppend(&text, "; and ", violations.size() - kMaxViolations, " more");
      break;
    }
    auto* entry = detail.add_field_violations();
    entry->set_field(violation.field);
    entry->set_description(violation.description);
    absl::StrAppend(&text, text.empty() ? "" : "; ", violation.field, ": ", violation.description);
  }
  absl::Status status = absl::InvalidArgumentError(text);
  Attach(status, detail);
  return status;
}

absl::Status InvalidField(std::string field, std::string description) {
  return InvalidFields({{std::move(field), std::move(description)}});
}

absl::Status ResourceNotFound(std::string_view kind) {
  return absl::NotFoundError(absl::StrCat(std::string(kind), " not found"));
}

absl::Status QuotaExceeded(const std::string& subject, const std::string& description) {
  absl::Status status = absl::ResourceExhaustedError(absl::StrCat(subject, ": ", description));
  Attach(status, QuotaDetail(subject, description));
  return WithReason(std::move(status), "QUOTA_EXCEEDED");
}

absl::Status RetryAfter(absl::Status status, absl::Duration delay) {
  google::rpc::RetryInfo detail;
  const int64_t nanos = absl::ToInt64Nanoseconds(delay);
  detail.mutable_retry_delay()->set_seconds(nanos / 1'000'000'000);
  detail.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  Attach(status, detail);
  return status;
}

std::string ReasonOrCode(const absl::Status& status) {
  std::string reason = ReasonOf(status);
  return reason.empty() ? absl::StatusCodeToString(status.code()) : reason;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;

  google::rpc::Status rich;
  rich.set_code(static_cast<int>(status.code()));
  rich.set_message(PublicText(status, !ReasonOf(status).empty()));
  google::rpc::ErrorInfo info;
  info.set_reason(ReasonOrCode(status));
  info.set_domain(kErrorDomain);
  rich.add_details()->PackFrom(info);
  if (const std::string subject = QuotaSubject(info.reason()); !subject.empty()) {
    rich.add_details()->PackFrom(QuotaDetail(subject, rich.message()));
  }
  status.ForEachPayload([&rich](absl::string_view type_url, const absl::Cord& payload) {
    if (!absl::StartsWith(type_url, "type.googleapis.com/google.rpc.")) return;
    if (type_url == TypeUrl<google::rpc::ErrorInfo>()) return;
    auto* detail = rich.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(payload));
  });
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), rich.message(),
                      rich.SerializeAsString());
}

}  // namespace wardtune
