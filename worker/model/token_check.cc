#include "worker/model/token_check.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace wardtune {

absl::Status CheckTokens(std::span<const int32_t> ids, const ModelConfig& config,
                         std::string_view what) {
  const std::string name(what);
  if (ids.empty()) return absl::InvalidArgumentError(absl::StrCat(name, ": has no tokens"));
  if (static_cast<int64_t>(ids.size()) > config.max_positions) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ": has ", ids.size(), " tokens, the model's context holds ", config.max_positions));
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= config.vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": token ", i, " has id ", ids[i],
                                                     ", outside the vocabulary of ",
                                                     config.vocab_size));
    }
  }
  return absl::OkStatus();
}

}  // namespace wardtune
