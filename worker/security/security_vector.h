// A security vector: the frozen adapter that is active while customers train, and what is needed to
// know that it is the right one and that it works.
//
// The most secret thing of this service: it exists in the clear in a worker's memory only, and its
// bytes are never logged or exported.
// Thread safety: plain data and pure functions.
#ifndef WARDTUNE_WORKER_SECURITY_SECURITY_VECTOR_H_
#define WARDTUNE_WORKER_SECURITY_SECURITY_VECTOR_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/adapter.h"
#include "worker/security/activation_check.h"
#include "worker/security/guard_rows.h"
#include "worker/security/sealing_keys.h"
#include "worker/security/vector_parts.h"

namespace wardtune {

struct SecurityVector {
  LoraAdapter adapter;
  CanarySet canaries;
  GuardSet guard;
  // Digests, 64 hexadecimal characters each.
  std::string base_sha256;  // folder digest of the base model it was trained for
  std::string recipe_sha256;
  std::string harmful_rows_sha256;
  std::string general_rows_sha256;
  uint64_t seed = 0;
  std::vector<std::string> categories;  // of all parts, sorted
  // What the adapter is the sum of, in the order of its ranks. A file from before parts were
  // recorded has one, sum or not.
  std::vector<VectorPart> parts;
};

// SHA-256 of the plain weights, by which jobs name the vector.
std::string SecurityVectorDigest(const SecurityVector& vector);

// One safetensors file; the fields above are its metadata.
absl::StatusOr<std::string> SerializeSecurityVector(const SecurityVector& vector);
// Errors: DATA_LOSS when the bytes are not what SerializeSecurityVector wrote for such a model.
absl::StatusOr<SecurityVector> ParseSecurityVector(const ModelConfig& config,
                                                   std::string_view bytes);

// What a lease says about the vector that a job must train with.
struct SecurityVectorIdentity {
  std::string version;      // `securityVectors/{vector}/versions/{version}`
  std::string sha256;       // of the plain weights
  std::string base_sha256;  // of the base model's folder
};

// Decrypts and checks everything that can be checked without running the model.
// Errors: those of SealingKeys::Open; DATA_LOSS when the weights are not those of `identity`, were
// trained for another base model, or the file is damaged; FAILED_PRECONDITION when all weights are
// zero.
absl::StatusOr<SecurityVector> OpenSecurityVector(const SealingKeys& keys,
                                                  const SecurityVectorIdentity& identity,
                                                  const ModelConfig& config,
                                                  std::string_view sealed);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SECURITY_SECURITY_VECTOR_H_
