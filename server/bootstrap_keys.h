// The first keys of a new server: without them nobody could call AdminService to make others.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_SERVER_BOOTSTRAP_KEYS_H_
#define WARDTUNE_SERVER_BOOTSTRAP_KEYS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file_system.h"
#include "storage/metadata_store.h"

namespace wardtune {

// Makes a key of the provider's tenant and returns its secret.
absl::StatusOr<std::string> MakeBootstrapKey(TenantStore& tenants, KeyRole role);

// When there is no provider key yet: makes a provider and a worker key and writes them to `path`,
// readable by its owner alone, as lines `WARDTUNE_PROVIDER_KEY=...` and `WARDTUNE_WORKER_KEY=...`,
// before it stores their hashes. A file that an interrupted start left behind is taken up.
// Otherwise does nothing.
// Errors: ALREADY_EXISTS when the file holds something else; UNAVAILABLE when it cannot be written.
absl::Status WriteBootstrapKeys(TenantStore& tenants, FileSystem& files, const std::string& path);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_BOOTSTRAP_KEYS_H_
