// Resource names (AIP-122) and the ids in them.
//
// An id is 1 to 63 of a-z, 0-9 and '-'. Whatever does not look so is INVALID_ARGUMENT naming the
// field, before any lookup. A well-formed name of another tenant is turned into an id that nobody
// has, so that it takes the same way, and gets the same answer, as a missing one.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_SERVER_RESOURCE_NAMES_H_
#define WARDTUNE_SERVER_RESOURCE_NAMES_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/rpc/caller.h"

namespace wardtune {

// Collections below `tenants/{tenant}`.
inline constexpr std::string_view kDatasets = "datasets";
inline constexpr std::string_view kJobs = "fineTuningJobs";
inline constexpr std::string_view kAdapters = "adapters";
inline constexpr std::string_view kOutputReports = "outputReports";
inline constexpr std::string_view kApiKeys = "apiKeys";

std::string TenantName(const std::string& tenant);
std::string TenantResource(const std::string& tenant, std::string_view collection,
                           const std::string& id);
// `adapter` is the adapter's name.
std::string AdapterAuditName(const std::string& adapter, const std::string& id);
std::string BaseModelName(const std::string& id);
std::string SafetySuiteName(const std::string& id);
std::string SecurityVectorName(const std::string& vector, int64_t version);

// The id in `tenants/{tenant}/{collection}/{id}`. `field` is the request's field, for the error.
// Errors: INVALID_ARGUMENT for another form.
absl::StatusOr<std::string> ParseOwnId(const Caller& caller, std::string_view collection,
                                       const std::string& name, const std::string& field);

// The same for names whose tenant the caller may choose: the provider and the workers.
struct TenantAndId {
  std::string tenant;
  std::string id;
};
absl::StatusOr<TenantAndId> ParseTenantResource(std::string_view collection,
                                                const std::string& name, const std::string& field);

// The id in `tenants/{tenant}`, `baseModels/{model}` or `safetySuites/{suite}`.
absl::StatusOr<std::string> ParseTenantName(const std::string& name, const std::string& field);
absl::StatusOr<std::string> ParseBaseModelName(const std::string& name, const std::string& field);
absl::StatusOr<std::string> ParseSafetySuiteName(const std::string& name, const std::string& field);

// `securityVectors/{vector}/versions/{version}`.
struct VectorVersion {
  std::string vector;
  int64_t version = 0;
};
absl::StatusOr<VectorVersion> ParseSecurityVectorName(const std::string& name,
                                                      const std::string& field);

// Checks an id that a caller chooses: as above, beginning with a letter.
absl::Status CheckNewId(const std::string& id, const std::string& field);
// Checks the name of a model's folder, which is its id.
absl::Status CheckModelId(const std::string& id);
// Checks a label: valid UTF-8 without control characters, at most 128 bytes.
absl::Status CheckDisplayName(const std::string& text, const std::string& field);
// Checks a reason that goes into the audit trail: as a label, but of 1 to 1000 bytes.
absl::Status CheckAuditReason(const std::string& text, const std::string& field);
// 64 lower-case hexadecimal characters.
bool IsSha256Hex(const std::string& text);
// Checks a request id: empty, or a UUID (RFC 9562) in its usual spelling.
absl::Status CheckRequestId(const std::string& text);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_RESOURCE_NAMES_H_
