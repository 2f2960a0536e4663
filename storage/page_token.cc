#include "storage/page_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace wardtune {
namespace {

constexpr size_t kMacBytes = 16;

}  // namespace

std::string PageTokens::Mac(std::string_view scope, std::string_view key) const {
  // The length keeps scope and key apart.
  const std::string message = absl::StrCat(scope.size(), ":", std::string(scope), std::string(key));
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
  unsigned int size = 0;
  HMAC(EVP_sha256(), secret_.data(), static_cast<int>(secret_.size()),
       reinterpret_cast<const unsigned char*>(message.data()), message.size(), mac.data(), &size);
  return std::string(reinterpret_cast<const char*>(mac.data()), kMacBytes);
}

std::string PageTokens::Make(std::string_view scope, std::string_view key) const {
  return absl::WebSafeBase64Escape(absl::StrCat(Mac(scope, key), std::string(key)));
}

absl::StatusOr<std::string> PageTokens::Read(std::string_view scope,
                                             const std::string& token) const {
  std::string raw;
  if (absl::WebSafeBase64Unescape(token, &raw) && raw.size() > kMacBytes) {
    const std::string key = raw.substr(kMacBytes);
    if (CRYPTO_memcmp(raw.data(), Mac(scope, key).data(), kMacBytes) == 0) return key;
  }
  return absl::InvalidArgumentError(
      "page_token: not one that this list returned; ask for the first page with an empty one");
}

}  // namespace wardtune
