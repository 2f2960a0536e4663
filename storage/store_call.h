// What the calls of all stores share: retries that are safe, and pages of lists.
// Thread safety: plain data.
#ifndef WARDTUNE_STORAGE_STORE_CALL_H_
#define WARDTUNE_STORAGE_STORE_CALL_H_

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"

namespace wardtune {

// What makes a retry of a mutation safe (AIP-155). With an empty request_id nothing is remembered.
struct RequestKey {
  std::string tenant;  // Of the caller's credential.
  std::string method;  // For example "CreateDataset".
  std::string request_id;
  std::string body_sha256;  // Of the request without its request_id.
};

// The answer to a mutation: what `encode` made of the new row, now or when the same request came
// first. It is stored in the mutation's own transaction.
// `encode` must be quick and must not call the store.
struct Answer {
  std::string response;
  bool replayed = false;
};
template <typename Record>
using Encode = absl::FunctionRef<std::string(const Record&)>;
// Errors of every method that takes a RequestKey: ALREADY_EXISTS with kReasonRequestIdReused when
// the request id came before with another body.

// A page of a list (AIP-158). The token is bound to tenant, method and filter; a forged or foreign
// one is INVALID_ARGUMENT.
struct PageRequest {
  int32_t page_size = 0;  // 1 to 1000; 0 means 50. Others are INVALID_ARGUMENT.
  std::string page_token;
};
template <typename Record>
struct Page {
  std::vector<Record> items;
  std::string next_page_token;  // Empty on the last page.
};

// All items of a list, page after page; for lists that are known to be short. Errors: those of
// `list`.
template <typename Record>
absl::StatusOr<std::vector<Record>> AllItems(
    absl::FunctionRef<absl::StatusOr<Page<Record>>(const PageRequest&)> list) {
  std::vector<Record> all;
  PageRequest request{1000, ""};
  do {
    WT_ASSIGN_OR_RETURN(Page<Record> page, list(request));
    std::move(page.items.begin(), page.items.end(), std::back_inserter(all));
    request.page_token = page.next_page_token;
  } while (!request.page_token.empty());
  return all;
}

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_STORE_CALL_H_
