#include "formats/judge_digest.h"

#include "absl/strings/str_cat.h"
#include "base/sha256.h"

namespace wardtune {

std::string JudgeDigest(const std::string& rules_sha256, const std::string& adapter_tar_sha256) {
  if (adapter_tar_sha256.empty()) return rules_sha256;
  return Sha256Hex(absl::StrCat("judge with adapter 1\n", rules_sha256, "\n", adapter_tar_sha256));
}

}  // namespace wardtune
