#include "server/bootstrap_keys.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/api_key.h"

namespace wardtune {
namespace {

absl::Status WriteAll(int fd, const std::string& path, const std::string& text) {
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t n = write(fd, text.data() + written, text.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
    written += static_cast<size_t>(n);
  }
  if (fsync(fd) != 0) return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> MakeBootstrapKey(TenantStore& tenants, KeyRole role) {
  const std::string secret = MintApiKey(role);
  ApiKeyRecord key;
  key.id = RandomId(kKeyIdLength);
  key.tenant = kProviderTenant;
  key.role = role;
  key.secret_sha256 = ApiKeyHash(secret);
  key.display_name = "bootstrap";
  WT_RETURN_IF_ERROR(tenants.CreateApiKey(key).status());
  return secret;
}

absl::Status WriteBootstrapKeys(TenantStore& tenants, const std::string& path) {
  WT_ASSIGN_OR_RETURN(const auto keys, tenants.ListApiKeys(kProviderTenant, {1, ""}));
  if (!keys.items.empty()) return absl::OkStatus();
  // The file comes first: keys that nobody can read would be lost for good.
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 && errno == EEXIST) {
    return absl::AlreadyExistsError(
        absl::StrCat(path, " is there, but the database has no keys; remove one of the two"));
  }
  if (fd < 0) return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  const absl::Cleanup close_file = [fd] { close(fd); };
  WT_ASSIGN_OR_RETURN(const std::string provider, MakeBootstrapKey(tenants, KeyRole::kProvider));
  WT_ASSIGN_OR_RETURN(const std::string worker, MakeBootstrapKey(tenants, KeyRole::kWorker));
  return WriteAll(
      fd, path,
      absl::StrCat("WARDTUNE_PROVIDER_KEY=", provider, "\nWARDTUNE_WORKER_KEY=", worker, "\n"));
}

}  // namespace wardtune
