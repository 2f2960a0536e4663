#include "storage/request_log.h"

#include "absl/strings/str_cat.h"
#include "storage/error_reason.h"

namespace wardtune {
namespace {

constexpr char kFindAnswer[] =
    "SELECT body_sha256, response FROM request WHERE tenant = ? AND method = ? AND request_id = ?";
constexpr char kSaveAnswer[] =
    "INSERT INTO request (tenant, method, request_id, body_sha256, response, create_time)"
    " VALUES (?, ?, ?, ?, ?, ?)";
constexpr char kForgetAnswers[] = "DELETE FROM request WHERE create_time < ?";

}  // namespace

absl::StatusOr<std::optional<std::string>> FindAnswer(Database& database, const RequestKey& key) {
  if (key.request_id.empty()) return std::nullopt;
  WT_ASSIGN_OR_RETURN(Statement row,
                      database.Query(kFindAnswer, key.tenant, key.method, key.request_id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return std::nullopt;
  if (row.Text() != key.body_sha256) {
    return WithReason(absl::AlreadyExistsError(absl::StrCat(
                          "request_id: ", key.request_id,
                          " was used by another request; take a new id for a new request")),
                      kReasonRequestIdReused);
  }
  return row.Text();
}

absl::Status SaveAnswer(Database& database, const RequestKey& key, const std::string& response,
                        absl::Time now) {
  if (key.request_id.empty()) return absl::OkStatus();
  return database
      .Run(kSaveAnswer, key.tenant, key.method, key.request_id, key.body_sha256, Bytes{response},
           now)
      .status();
}

absl::Status ForgetAnswersBefore(Database& database, absl::Time time) {
  return database.Run(kForgetAnswers, time).status();
}

}  // namespace wardtune
