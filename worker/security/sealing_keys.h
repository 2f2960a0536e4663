// The keys that a worker holds while one takes another's place: the primary seals and opens, older
// ones only open. A sealed file names the key that it needs.
// Thread safety: immutable.
#ifndef WARDTUNE_WORKER_SECURITY_SEALING_KEYS_H_
#define WARDTUNE_WORKER_SECURITY_SEALING_KEYS_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/security/sealed_file.h"

namespace wardtune {

class SealingKeys {
 public:
  // Naming a key twice is harmless.
  explicit SealingKeys(SealingKey primary, std::vector<SealingKey> older = {});

  // With the primary; see sealed_file.h, also for the errors.
  absl::StatusOr<std::string> Seal(std::string_view context, std::string_view plain) const;
  // With whichever key the file names.
  // Errors: those of OpenSealed; PERMISSION_DENIED names the file's key id and those held here.
  absl::StatusOr<std::string> Open(std::string_view context, std::string_view sealed) const;

  // Safe to log, the primary's first.
  std::vector<std::string> ids() const;
  std::string primary_id() const { return keys_[0].id(); }

 private:
  std::vector<SealingKey> keys_;  // the primary first
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SECURITY_SEALING_KEYS_H_
