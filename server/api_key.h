// API keys: `wt_<role letter>_<30 base62 characters><6 base62 characters of CRC-32>`.
//
// The 30 characters hold 178 random bits. The checksum lets a scanner, and the server before any
// database read, tell a key from noise. The server stores Sha256Hex(key) and never the key.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_SERVER_API_KEY_H_
#define WARDTUNE_SERVER_API_KEY_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "storage/records.h"

namespace wardtune {

// "tenant", "provider" or "worker".
std::string_view KeyRoleName(KeyRole role);

// A new secret from the operating system's random source.
std::string MintApiKey(KeyRole role);

// Checks form and checksum; costs no database read.
// Errors: UNAUTHENTICATED, the same text for every defect.
absl::StatusOr<KeyRole> ParseApiKey(std::string_view key);

// What is stored of a key.
std::string ApiKeyHash(std::string_view key);

// Compares in time that depends on the lengths alone.
bool ConstantTimeEquals(std::string_view a, std::string_view b);

// Length of a key's public id.
inline constexpr int kKeyIdLength = 12;

// `length` random lower-case letters and digits, the first a letter: an id for a resource.
std::string RandomId(int length);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_API_KEY_H_
