#include "server/bootstrap_keys.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "server/api_key.h"

namespace wardtune {
namespace {

constexpr char kProviderLine[] = "WARDTUNE_PROVIDER_KEY=";
constexpr char kWorkerLine[] = "WARDTUNE_WORKER_KEY=";

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

// Written whole before any key is stored: a key that nobody can read would be lost for good.
absl::Status WriteNewFile(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  const absl::Cleanup close_file = [fd] { close(fd); };
  return WriteAll(fd, path, text);
}

struct KeyPair {
  std::string provider;
  std::string worker;
};

// The keys of a file that an earlier start wrote and then died before it stored them.
absl::StatusOr<KeyPair> ReadKeys(FileSystem& files, const std::string& path) {
  WT_ASSIGN_OR_RETURN(const std::string text, files.ReadFile(path));
  KeyPair keys;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, kProviderLine)) keys.provider = std::string(line);
    if (absl::ConsumePrefix(&line, kWorkerLine)) keys.worker = std::string(line);
  }
  const auto provider = ParseApiKey(keys.provider);
  const auto worker = ParseApiKey(keys.worker);
  if (provider.ok() && *provider == KeyRole::kProvider && worker.ok() &&
      *worker == KeyRole::kWorker) {
    return keys;
  }
  return absl::AlreadyExistsError(
      absl::StrCat(path,
                   " is there but holds no bootstrap keys, and the database has none "
                   "either; remove the file"));
}

absl::StatusOr<bool> HasProviderKey(TenantStore& tenants) {
  WT_ASSIGN_OR_RETURN(const auto keys, AllItems<ApiKeyRecord>([&](const PageRequest& page) {
                        return tenants.ListApiKeys(kProviderTenant, page);
                      }));
  return std::any_of(keys.begin(), keys.end(),
                     [](const ApiKeyRecord& key) { return key.role == KeyRole::kProvider; });
}

absl::Status StoreKey(TenantStore& tenants, KeyRole role, const std::string& secret) {
  ApiKeyRecord key;
  key.id = RandomId(kKeyIdLength);
  key.tenant = kProviderTenant;
  key.role = role;
  key.secret_sha256 = ApiKeyHash(secret);
  key.display_name = "bootstrap";
  return tenants.CreateApiKey(key).status();
}

}  // namespace

absl::StatusOr<std::string> MakeBootstrapKey(TenantStore& tenants, KeyRole role) {
  const std::string secret = MintApiKey(role);
  WT_RETURN_IF_ERROR(StoreKey(tenants, role, secret));
  return secret;
}

absl::Status WriteBootstrapKeys(TenantStore& tenants, FileSystem& files, const std::string& path) {
  WT_ASSIGN_OR_RETURN(const bool done, HasProviderKey(tenants));
  if (done) return absl::OkStatus();
  KeyPair keys;
  if (files.Exists(path)) {
    WT_ASSIGN_OR_RETURN(keys, ReadKeys(files, path));
  } else {
    keys = {MintApiKey(KeyRole::kProvider), MintApiKey(KeyRole::kWorker)};
    WT_RETURN_IF_ERROR(WriteNewFile(
        path, absl::StrCat(kProviderLine, keys.provider, "\n", kWorkerLine, keys.worker, "\n")));
  }
  // The provider's key comes last: as long as it is missing, the next start goes on from the file.
  const absl::Status worker = StoreKey(tenants, KeyRole::kWorker, keys.worker);
  if (!worker.ok() && !absl::IsAlreadyExists(worker)) return worker;
  return StoreKey(tenants, KeyRole::kProvider, keys.provider);
}

}  // namespace wardtune
