// Authenticated encryption for what only workers may read: security vectors and the checkpoints of
// their training. The server stores sealed bytes and holds no key.
//
// AES-256-GCM (NIST SP 800-38D) by OpenSSL; formats/sealed_header.h has the layout. A key's id is
// the first half of SHA-256 over a label and the key. The header is authenticated with the rest.
// Thread safety: immutable objects and re-entrant functions.
#ifndef WARDTUNE_WORKER_SECURITY_SEALED_FILE_H_
#define WARDTUNE_WORKER_SECURITY_SEALED_FILE_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/file_system.h"

namespace wardtune {

// The workers' key. Wiped from memory when it is destroyed.
class SealingKey {
 public:
  static constexpr size_t kBytes = 32;

  // 32 raw bytes, or 64 hexadecimal digits with white space around them.
  // Errors: INVALID_ARGUMENT for anything else; the key is never part of a message.
  static absl::StatusOr<SealingKey> Parse(std::string_view text);
  // Errors: those of Parse and of FileSystem, with the path.
  static absl::StatusOr<SealingKey> FromFile(FileSystem& files, const std::string& path);

  ~SealingKey();
  SealingKey(const SealingKey&) = default;
  SealingKey& operator=(const SealingKey&) = default;

  // Names the key without telling it: 32 hexadecimal characters, safe to log.
  std::string id() const;
  const unsigned char* data() const { return bytes_.data(); }

 private:
  SealingKey() = default;
  std::array<unsigned char, kBytes> bytes_{};
};

// Two calls with equal arguments give different bytes, as the nonce is random.
// Errors: INVALID_ARGUMENT for a context above 4 KiB, INTERNAL when OpenSSL fails.
absl::StatusOr<std::string> Seal(const SealingKey& key, std::string_view context,
                                 std::string_view plain);

// The plain bytes, in memory only.
// Errors: DATA_LOSS when the bytes are no sealed file, were altered, or were sealed for another
// context; PERMISSION_DENIED, naming both key ids, when they were sealed with another key.
absl::StatusOr<std::string> OpenSealed(const SealingKey& key, std::string_view context,
                                       std::string_view sealed);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SECURITY_SEALED_FILE_H_
