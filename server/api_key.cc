#include "server/api_key.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <zlib.h>

#include <cstdlib>

#include "base/sha256.h"

namespace wardtune {
namespace {

constexpr std::string_view kBase62 =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kPrefix = "wt_";
constexpr size_t kRandomChars = 30;
constexpr size_t kChecksumChars = 6;  // 62^6 > 2^32
constexpr size_t kBodyStart = 5;      // behind "wt_p_"
constexpr size_t kKeyLength = kBodyStart + kRandomChars + kChecksumChars;

unsigned char RandomByte() {
  unsigned char byte = 0;
  // Going on without randomness would hand out guessable keys.
  if (RAND_bytes(&byte, 1) != 1) std::abort();
  return byte;
}

// Uniform over the alphabet: bytes past its last whole multiple are drawn again.
char RandomChar(std::string_view alphabet) {
  const unsigned limit = 256 - 256 % static_cast<unsigned>(alphabet.size());
  unsigned byte = RandomByte();
  while (byte >= limit) byte = RandomByte();
  return alphabet[byte % alphabet.size()];
}

std::string Checksum(std::string_view text) {
  auto value = static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(text.data()), static_cast<uInt>(text.size())));
  std::string out(kChecksumChars, '0');
  for (size_t i = kChecksumChars; i-- > 0; value /= 62) out[i] = kBase62[value % 62];
  return out;
}

char RoleLetter(KeyRole role) {
  switch (role) {
    case KeyRole::kTenant:
      return 't';
    case KeyRole::kProvider:
      return 'p';
    case KeyRole::kWorker:
      return 'w';
  }
  std::abort();
}

absl::Status BadKey() { return absl::UnauthenticatedError("the API key is not valid"); }

}  // namespace

std::string_view KeyRoleName(KeyRole role) {
  switch (role) {
    case KeyRole::kTenant:
      return "tenant";
    case KeyRole::kProvider:
      return "provider";
    case KeyRole::kWorker:
      return "worker";
  }
  std::abort();
}

std::string MintApiKey(KeyRole role) {
  std::string key(kPrefix);
  key += RoleLetter(role);
  key += '_';
  for (size_t i = 0; i < kRandomChars; ++i) key += RandomChar(kBase62);
  key += Checksum(key);
  return key;
}

absl::StatusOr<KeyRole> ParseApiKey(std::string_view key) {
  if (key.size() != kKeyLength || key.substr(0, kPrefix.size()) != kPrefix || key[4] != '_') {
    return BadKey();
  }
  const std::string_view signed_part = key.substr(0, kKeyLength - kChecksumChars);
  if (Checksum(signed_part) != key.substr(signed_part.size())) return BadKey();
  for (const KeyRole role : {KeyRole::kTenant, KeyRole::kProvider, KeyRole::kWorker}) {
    if (key[3] == RoleLetter(role)) return role;
  }
  return BadKey();
}

std::string ApiKeyHash(std::string_view key) { return Sha256Hex(key); }

bool ConstantTimeEquals(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string RandomId(int length) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz";
  constexpr std::string_view kLettersAndDigits = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::string id(1, RandomChar(kLetters));
  while (static_cast<int>(id.size()) < length) id += RandomChar(kLettersAndDigits);
  return id;
}

}  // namespace wardtune
