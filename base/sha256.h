// SHA-256 (FIPS 180-4) by OpenSSL, streaming and in one call.
//
// Digests are 64 lower-case hexadecimal characters everywhere in this project: in the API, in the
// database and in file names.
// Thread safety: one Sha256 object belongs to one thread at a time; the functions are re-entrant.
#ifndef WARDTUNE_BASE_SHA256_H_
#define WARDTUNE_BASE_SHA256_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

struct evp_md_ctx_st;

namespace wardtune {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(std::string_view bytes);
  void Update(const void* data, size_t size);

  // The digest of all that was given so far. The object may go on being updated afterwards.
  std::string HexDigest() const;

 private:
  struct Deleter {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Deleter> context_;
};

// The digest of one string.
std::string Sha256Hex(std::string_view bytes);

// The digest of a whole file, read in pieces of constant size.
// Errors: NOT_FOUND when there is no such file, UNAVAILABLE when reading it fails.
absl::StatusOr<std::string> Sha256OfFile(const std::string& path);

}  // namespace wardtune

#endif  // WARDTUNE_BASE_SHA256_H_
