// wardtune-server: see server_options.h for its flags and wardtune_server.h for what it is.
#include <csignal>
#include <iostream>
#include <string>
#include <vector>

#include "server/bootstrap_keys.h"
#include "server/server_options.h"
#include "server/wardtune_server.h"
#include "storage/sqlite_store.h"

namespace wardtune {
namespace {

int Fail(const absl::Status& status) {
  std::cerr << "wardtune-server: " << status.message() << "\n";
  return 1;
}

int PrintBootstrapKey(const ServerOptions& options, Clock& clock, FileSystem& files) {
  if (absl::Status made = files.CreateFolders(options.data_dir); !made.ok()) return Fail(made);
  auto store = SqliteStore::Open({.path = options.data_dir + "/wardtune.db"}, clock, files);
  if (!store.ok()) return Fail(store.status());
  const auto key = MakeBootstrapKey(
      (*store)->tenants(), options.role == "worker" ? KeyRole::kWorker : KeyRole::kProvider);
  if (!key.ok()) return Fail(key.status());
  std::cout << *key << "\n";
  return 0;
}

int Run(const std::vector<std::string>& arguments) {
  const auto options = ParseServerOptions(arguments);
  if (absl::IsCancelled(options.status())) return (std::cout << options.status().message(), 0);
  if (!options.ok()) return Fail(options.status());
  // Blocked before any thread starts, so that all inherit it and sigwait() alone sees the signals.
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGINT);
  sigaddset(&stop, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  SystemClock clock;
  PosixFileSystem files;
  if (options->bootstrap_key) return PrintBootstrapKey(*options, clock, files);
  const auto server = WardtuneServer::Start(*options, clock, files, std::cerr);
  if (!server.ok()) return Fail(server.status());
  std::cout << "listening on port " << (*server)->port() << std::endl;
  int signal = 0;
  sigwait(&stop, &signal);
  (*server)->Shutdown();
  return 0;
}

}  // namespace
}  // namespace wardtune

int main(int argc, char** argv) { return wardtune::Run({argv + 1, argv + argc}); }
