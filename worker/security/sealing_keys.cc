#include "worker/security/sealing_keys.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "formats/sealed_header.h"

namespace wardtune {

SealingKeys::SealingKeys(SealingKey primary, std::vector<SealingKey> older) {
  keys_.reserve(1 + older.size());
  keys_.push_back(std::move(primary));
  for (SealingKey& key : older) keys_.push_back(std::move(key));
}

absl::StatusOr<std::string> SealingKeys::Seal(std::string_view context,
                                              std::string_view plain) const {
  return wardtune::Seal(keys_[0], context, plain);
}

absl::StatusOr<std::string> SealingKeys::Open(std::string_view context,
                                              std::string_view sealed) const {
  WT_ASSIGN_OR_RETURN(const SealedHeader header, ParseSealedHeader(sealed));
  const std::string needed = header.KeyIdHex();
  for (const SealingKey& key : keys_) {
    if (key.id() == needed) return OpenSealed(key, context, sealed);
  }
  return absl::PermissionDeniedError(absl::StrCat(
      "sealed file: it was sealed with key ", needed, ", this worker holds ",
      absl::StrJoin(ids(), ", "),
      "; start the worker with that key's file, as --old-sv-key-files if another one seals now"));
}

std::vector<std::string> SealingKeys::ids() const {
  std::vector<std::string> ids;
  for (const SealingKey& key : keys_) ids.push_back(key.id());
  return ids;
}

}  // namespace wardtune
