// The header of a sealed file, which needs no key to be read: which key seals the file and what it
// is. Workers seal and open such files (worker/security/sealed_file.h); the server, which holds no
// key, tells by the header whether one may replace another.
//
// Layout of the file, integers little-endian:
//   8  magic "WTSEAL01"
//   16 key id
//   12 nonce, random for every file
//   4  length n of the context
//   n  context: what the bytes are, for example a version's resource name; at most 4 KiB
//   .. ciphertext, as long as the plain bytes
//   16 tag over header and ciphertext
// Thread safety: immutable objects and re-entrant functions.
#ifndef WARDTUNE_FORMATS_SEALED_HEADER_H_
#define WARDTUNE_FORMATS_SEALED_HEADER_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace wardtune {

inline constexpr size_t kSealedKeyIdBytes = 16;
inline constexpr size_t kSealedNonceBytes = 12;
inline constexpr size_t kSealedTagBytes = 16;
inline constexpr size_t kMaxSealedContextBytes = 4096;
// No header is longer.
inline constexpr size_t kMaxSealedHeaderBytes =
    8 + kSealedKeyIdBytes + kSealedNonceBytes + 4 + kMaxSealedContextBytes;

struct SealedHeader {
  std::string key_id;  // kSealedKeyIdBytes bytes
  std::string nonce;   // kSealedNonceBytes bytes
  std::string context;

  // The key id as it is logged: lower-case hexadecimal.
  std::string KeyIdHex() const;
  // The bytes in the file. REQUIRES: sizes as above.
  std::string Serialize() const;
  size_t size_bytes() const;
};

// `begin`: the file, or at least its first kMaxSealedHeaderBytes bytes. Nothing is authenticated:
// only who holds the key can tell whether the header was altered.
// Errors: DATA_LOSS when these bytes begin no sealed file.
absl::StatusOr<SealedHeader> ParseSealedHeader(std::string_view begin);

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_SEALED_HEADER_H_
