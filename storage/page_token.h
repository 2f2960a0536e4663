// Page tokens that a client can neither read, forge nor carry over to another list.
#ifndef WARDTUNE_STORAGE_PAGE_TOKEN_H_
#define WARDTUNE_STORAGE_PAGE_TOKEN_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

namespace wardtune {

// Thread safety: all methods may be called from any thread.
class PageTokens {
 public:
  // `secret` belongs to the database, so tokens survive a restart.
  explicit PageTokens(std::string secret) : secret_(std::move(secret)) {}

  // A token that says "go on after `key`" in the list that `scope` describes: method, tenant and
  // filter.
  std::string Make(std::string_view scope, std::string_view key) const;
  // The key. INVALID_ARGUMENT unless Make() made the token with the same secret and scope.
  absl::StatusOr<std::string> Read(std::string_view scope, const std::string& token) const;

 private:
  std::string Mac(std::string_view scope, std::string_view key) const;
  const std::string secret_;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_PAGE_TOKEN_H_
