#include "formats/sealed_header.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace wardtune {
namespace {

constexpr std::string_view kMagic = "WTSEAL01";
constexpr size_t kNonceAt = kMagic.size() + kSealedKeyIdBytes;
constexpr size_t kLengthAt = kNonceAt + kSealedNonceBytes;
constexpr size_t kContextAt = kLengthAt + sizeof(uint32_t);
static_assert(kContextAt + kMaxSealedContextBytes == kMaxSealedHeaderBytes);

std::string LittleEndian(uint32_t value) {
  std::string bytes(sizeof(value), '\0');
  for (size_t i = 0; i < sizeof(value); ++i) bytes[i] = static_cast<char>(value >> (8 * i));
  return bytes;
}

uint32_t ReadLittleEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) {
    value |= uint32_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

}  // namespace

std::string SealedHeader::KeyIdHex() const { return absl::BytesToHexString(key_id); }

std::string SealedHeader::Serialize() const {
  return absl::StrCat(std::string(kMagic), key_id, nonce,
                      LittleEndian(static_cast<uint32_t>(context.size())), context);
}

size_t SealedHeader::size_bytes() const { return kContextAt + context.size(); }

absl::StatusOr<SealedHeader> ParseSealedHeader(std::string_view begin) {
  if (begin.size() < kContextAt || begin.substr(0, kMagic.size()) != kMagic) {
    return absl::DataLossError("sealed file: the bytes are no sealed file of version 01");
  }
  const size_t context_size = ReadLittleEndian(begin.substr(kLengthAt));
  if (context_size > kMaxSealedContextBytes || begin.size() < kContextAt + context_size) {
    return absl::DataLossError("sealed file: the header is damaged");
  }
  return SealedHeader{std::string(begin.substr(kMagic.size(), kSealedKeyIdBytes)),
                      std::string(begin.substr(kNonceAt, kSealedNonceBytes)),
                      std::string(begin.substr(kContextAt, context_size))};
}

}  // namespace wardtune
