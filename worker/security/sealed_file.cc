#include "worker/security/sealed_file.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/sealed_header.h"

namespace wardtune {
namespace {

// OpenSSL counts in int.
constexpr size_t kPiece = size_t{1} << 28;

struct ContextDeleter {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, ContextDeleter>;

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Bytes(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

std::string RawKeyId(const SealingKey& key) {
  Sha256 hash;
  hash.Update("wardtune sealing key\n");
  hash.Update(key.data(), SealingKey::kBytes);
  return absl::HexStringToBytes(hash.HexDigest().substr(0, 2 * kSealedKeyIdBytes));
}

absl::Status Damaged(std::string_view why) {
  return absl::DataLossError(absl::StrCat("sealed file: ", std::string(why)));
}

// Runs `update` over `in` in pieces, writing the same number of bytes to `out`.
bool InPieces(std::string_view in, unsigned char* out, EVP_CIPHER_CTX* context,
              int (*update)(EVP_CIPHER_CTX*, unsigned char*, int*, const unsigned char*, int)) {
  for (size_t done = 0; done < in.size();) {
    const size_t size = std::min(kPiece, in.size() - done);
    int written = 0;
    if (update(context, out + done, &written, Bytes(in) + done, static_cast<int>(size)) != 1) {
      return false;
    }
    done += size;
  }
  return true;
}

}  // namespace

absl::StatusOr<SealingKey> SealingKey::Parse(std::string_view text) {
  SealingKey key;
  // 32 letters are a shorter key's digits or a passphrase, and no 32 random bytes.
  const bool letters = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isprint(static_cast<unsigned char>(c)) ||
           absl::ascii_isspace(static_cast<unsigned char>(c));
  });
  if (text.size() == kBytes && !letters) {
    std::memcpy(key.bytes_.data(), text.data(), kBytes);
    return key;
  }
  const absl::string_view trimmed =
      absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size()));
  if (trimmed.size() != 2 * kBytes || !std::all_of(trimmed.begin(), trimmed.end(), [](char c) {
        return absl::ascii_isxdigit(static_cast<unsigned char>(c));
      })) {
    return absl::InvalidArgumentError(
        "sealing key: must be 32 random bytes or 64 hexadecimal digits; "
        "make one with: openssl rand -hex 32");
  }
  std::string raw = absl::HexStringToBytes(trimmed);
  std::memcpy(key.bytes_.data(), raw.data(), kBytes);
  OPENSSL_cleanse(raw.data(), raw.size());
  return key;
}

absl::StatusOr<SealingKey> SealingKey::FromFile(FileSystem& files, const std::string& path) {
  WT_ASSIGN_OR_RETURN(std::string text, files.ReadFile(path));
  absl::StatusOr<SealingKey> key = Parse(text);
  OPENSSL_cleanse(text.data(), text.size());
  if (!key.ok()) {
    return absl::Status(key.status().code(), absl::StrCat(path, ": ", key.status().message()));
  }
  return key;
}

SealingKey::~SealingKey() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

std::string SealingKey::id() const { return absl::BytesToHexString(RawKeyId(*this)); }

absl::StatusOr<std::string> Seal(const SealingKey& key, std::string_view context,
                                 std::string_view plain) {
  if (context.size() > kMaxSealedContextBytes) {
    return absl::InvalidArgumentError("sealed file: the context is longer than 4 KiB");
  }
  std::string nonce(kSealedNonceBytes, '\0');
  if (RAND_bytes(Bytes(nonce), static_cast<int>(nonce.size())) != 1) {
    return absl::InternalError("sealed file: no random numbers from OpenSSL");
  }
  const std::string header = SealedHeader{RawKeyId(key), nonce, std::string(context)}.Serialize();
  std::string sealed = header;
  sealed.resize(header.size() + plain.size() + kSealedTagBytes);

  CipherContext cipher(EVP_CIPHER_CTX_new());
  int length = 0;
  unsigned char* const out = Bytes(sealed) + header.size();
  if (cipher == nullptr ||
      EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.data(), Bytes(nonce)) != 1 ||
      EVP_EncryptUpdate(cipher.get(), nullptr, &length, Bytes(header),
                        static_cast<int>(header.size())) != 1 ||
      !InPieces(plain, out, cipher.get(), EVP_EncryptUpdate) ||
      EVP_EncryptFinal_ex(cipher.get(), out + plain.size(), &length) != 1 ||
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kSealedTagBytes,
                          out + plain.size()) != 1) {
    return absl::InternalError("sealed file: OpenSSL failed to encrypt");
  }
  return sealed;
}

absl::StatusOr<std::string> OpenSealed(const SealingKey& key, std::string_view context,
                                       std::string_view sealed) {
  WT_ASSIGN_OR_RETURN(const SealedHeader parsed, ParseSealedHeader(sealed));
  if (sealed.size() < parsed.size_bytes() + kSealedTagBytes) {
    return Damaged("it ends before its tag");
  }
  if (parsed.key_id != RawKeyId(key)) {
    return absl::PermissionDeniedError(absl::StrCat(
        "sealed file: it was sealed with key ", parsed.KeyIdHex(), ", this worker holds key ",
        key.id(), "; start the worker with the right key file"));
  }
  const std::string_view header = sealed.substr(0, parsed.size_bytes());
  const std::string_view body =
      sealed.substr(header.size(), sealed.size() - header.size() - kSealedTagBytes);
  std::string tag(sealed.substr(sealed.size() - kSealedTagBytes));

  std::string plain(body.size(), '\0');
  CipherContext cipher(EVP_CIPHER_CTX_new());
  int length = 0;
  if (cipher == nullptr ||
      EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.data(),
                         Bytes(parsed.nonce)) != 1 ||
      EVP_DecryptUpdate(cipher.get(), nullptr, &length, Bytes(header),
                        static_cast<int>(header.size())) != 1 ||
      !InPieces(body, Bytes(plain), cipher.get(), EVP_DecryptUpdate) ||
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kSealedTagBytes, tag.data()) != 1) {
    return absl::InternalError("sealed file: OpenSSL failed to decrypt");
  }
  unsigned char nothing[kSealedTagBytes];
  if (EVP_DecryptFinal_ex(cipher.get(), nothing, &length) != 1) {
    OPENSSL_cleanse(plain.data(), plain.size());
    return Damaged("the bytes were altered: authentication failed");
  }
  if (parsed.context != context) {
    OPENSSL_cleanse(plain.data(), plain.size());
    return Damaged(absl::StrCat("it was sealed for '", parsed.context, "', not for '",
                                std::string(context), "'"));
  }
  return plain;
}

}  // namespace wardtune
