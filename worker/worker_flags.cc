#include "worker/worker_flags.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/status_macros.h"

ABSL_FLAG(std::string, server, "localhost:8433", "host:port of wardtune-server");
ABSL_FLAG(std::string, server_ca_file, "",
          "PEM file with the certificate authority of the server; empty: no TLS");
ABSL_FLAG(std::string, api_key_file, "", "file with the worker's API key");
ABSL_FLAG(std::string, worker_id, "", "name of this process; empty: made of host name and pid");
ABSL_FLAG(std::string, models_dir, "", "folder of Hugging Face model folders");
ABSL_FLAG(
    std::string, sv_key_file, "",
    "file with the key that seals security vectors (32 random bytes or 64 hexadecimal digits); "
    "empty: the environment variable WARDTUNE_SV_KEY");
ABSL_FLAG(std::vector<std::string>, old_sv_key_files, {},
          "files with older keys, divided by commas, which open security vectors and seal none; "
          "empty: the environment variable WARDTUNE_OLD_SV_KEYS, keys divided by commas");
ABSL_FLAG(bool, reseal, false,
          "seal every trained security vector that an older key seals with the key of "
          "--sv_key_file, and end; takes no jobs. Exit code 0: that key seals every version");
ABSL_FLAG(std::string, device, "auto", "cpu, cuda, cuda:N, or auto (cuda where there is one)");
ABSL_FLAG(std::string, dtype, "auto", "float32, bfloat16, or auto (bfloat16 where it is fast)");
ABSL_FLAG(int, threads, 0, "threads that compute; 0: one per core");
ABSL_FLAG(
    int, jobs_at_once, 1,
    "leases held side by side; their jobs, on one base model at a time, train together and share "
    "its memory. Only a job alone, 1, resumes to the same bytes");
ABSL_FLAG(int, score_tokens, 48, "most tokens of an answer that is scored");
ABSL_FLAG(int, score_batch, static_cast<int>(wardtune::SamplingOptions().batch),
          "prompts that are answered together");
ABSL_FLAG(int, checkpoint_steps, 50, "steps between checkpoints, at most");
ABSL_FLAG(absl::Duration, checkpoint_interval, absl::Minutes(1),
          "time between checkpoints, at most");

namespace wardtune {
namespace {

// Each holds its data set and its adapter's gradients and moments, and has a thread.
constexpr int kMostJobsAtOnce = 64;

// Flags may be spelt with dashes, --models-dir, as well as with the library's underscores.
std::vector<std::string> WithUnderscores(int argc, char** argv) {
  std::vector<std::string> arguments(argv, argv + argc);
  for (size_t i = 1; i < arguments.size(); ++i) {
    std::string& argument = arguments[i];
    if (argument.size() < 3 || argument.compare(0, 2, "--") != 0) continue;
    const size_t end = std::min(argument.find('='), argument.size());
    std::replace(argument.begin() + 2, argument.begin() + static_cast<int64_t>(end), '-', '_');
  }
  return arguments;
}

absl::StatusOr<ComputeType> ParseDtype(const std::string& name) {
  if (name == "auto") return ComputeType::kAuto;
  if (name == "float32") return ComputeType::kFloat32;
  if (name == "bfloat16") return ComputeType::kBfloat16;
  return absl::InvalidArgumentError("--dtype: must be auto, float32 or bfloat16");
}

std::string DefaultWorkerId() {
  char host[40] = {};
  gethostname(host, sizeof(host) - 1);
  return absl::StrCat(host, "-", getpid());
}

absl::StatusOr<SealingKey> ReadSealingKey(FileSystem& files) {
  const std::string path = absl::GetFlag(FLAGS_sv_key_file);
  if (!path.empty()) return SealingKey::FromFile(files, path);
  const char* const text = std::getenv("WARDTUNE_SV_KEY");
  if (text == nullptr) {
    return absl::InvalidArgumentError(
        "--sv_key_file: name the key file, or set WARDTUNE_SV_KEY; "
        "make a key with: openssl rand -hex 32");
  }
  return SealingKey::Parse(text);
}

absl::StatusOr<std::vector<SealingKey>> ReadOldSealingKeys(FileSystem& files) {
  std::vector<SealingKey> keys;
  for (const std::string& path : absl::GetFlag(FLAGS_old_sv_key_files)) {
    WT_ASSIGN_OR_RETURN(SealingKey key, SealingKey::FromFile(files, path));
    keys.push_back(std::move(key));
  }
  const char* const text = std::getenv("WARDTUNE_OLD_SV_KEYS");
  if (!keys.empty() || text == nullptr) return keys;
  for (const absl::string_view part : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    absl::StatusOr<SealingKey> key = SealingKey::Parse({part.data(), part.size()});
    if (!key.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("WARDTUNE_OLD_SV_KEYS: ", key.status().message()));
    }
    keys.push_back(*std::move(key));
  }
  return keys;
}

absl::StatusOr<std::string> ReadText(FileSystem& files, const std::string& path) {
  WT_ASSIGN_OR_RETURN(std::string text, files.ReadFile(path));
  absl::StripAsciiWhitespace(&text);
  return text;
}

absl::Status AtLeastOne(const char* flag, int value) {
  return value >= 1 ? absl::OkStatus()
                    : absl::InvalidArgumentError(absl::StrCat(flag, ": must be at least 1"));
}

absl::StatusOr<WorkerClient::Options> ReadClientFlags(FileSystem& files) {
  WorkerClient::Options client;
  client.server = absl::GetFlag(FLAGS_server);
  client.worker_id = absl::GetFlag(FLAGS_worker_id);
  if (client.worker_id.empty()) client.worker_id = DefaultWorkerId();
  if (absl::GetFlag(FLAGS_api_key_file).empty()) {
    return absl::InvalidArgumentError("--api_key_file: must be set");
  }
  WT_ASSIGN_OR_RETURN(client.api_key, ReadText(files, absl::GetFlag(FLAGS_api_key_file)));
  if (!absl::GetFlag(FLAGS_server_ca_file).empty()) {
    WT_ASSIGN_OR_RETURN(client.ca_certificate, files.ReadFile(absl::GetFlag(FLAGS_server_ca_file)));
  }
  return client;
}

}  // namespace

absl::StatusOr<WorkerSettings> ReadWorkerFlags(int argc, char** argv, FileSystem& files) {
  std::vector<std::string> arguments = WithUnderscores(argc, argv);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  if (absl::ParseCommandLine(argc, pointers.data()).size() > 1) {
    return absl::InvalidArgumentError("wardtune-worker takes flags only; see --help");
  }
  const bool reseal = absl::GetFlag(FLAGS_reseal);
  if (absl::GetFlag(FLAGS_models_dir).empty() && !reseal) {
    return absl::InvalidArgumentError("--models_dir: must be set");
  }
  const int jobs_at_once = absl::GetFlag(FLAGS_jobs_at_once);
  if (jobs_at_once < 1 || jobs_at_once > kMostJobsAtOnce) {
    return absl::InvalidArgumentError(
        absl::StrCat("--jobs_at_once: must be 1 to ", kMostJobsAtOnce));
  }
  WT_RETURN_IF_ERROR(AtLeastOne("--score_tokens", absl::GetFlag(FLAGS_score_tokens)));
  WT_RETURN_IF_ERROR(AtLeastOne("--score_batch", absl::GetFlag(FLAGS_score_batch)));
  WT_RETURN_IF_ERROR(AtLeastOne("--checkpoint_steps", absl::GetFlag(FLAGS_checkpoint_steps)));
  WT_ASSIGN_OR_RETURN(WorkerClient::Options client, ReadClientFlags(files));
  WT_ASSIGN_OR_RETURN(SealingKey key, ReadSealingKey(files));
  WT_ASSIGN_OR_RETURN(std::vector<SealingKey> old_keys, ReadOldSealingKeys(files));
  WT_ASSIGN_OR_RETURN(const ComputeType dtype, ParseDtype(absl::GetFlag(FLAGS_dtype)));
  return WorkerSettings{.client = std::move(client),
                        .models_dir = absl::GetFlag(FLAGS_models_dir),
                        .sealing_keys = SealingKeys(std::move(key), std::move(old_keys)),
                        .reseal = reseal,
                        .decoder = {.compute_type = dtype, .device = absl::GetFlag(FLAGS_device)},
                        .runtime = {.threads = absl::GetFlag(FLAGS_threads)},
                        .sampling = {.max_new_tokens = absl::GetFlag(FLAGS_score_tokens),
                                     .batch = absl::GetFlag(FLAGS_score_batch)},
                        .checkpoints = {.every_steps = absl::GetFlag(FLAGS_checkpoint_steps),
                                        .every = absl::GetFlag(FLAGS_checkpoint_interval)},
                        .jobs_at_once = jobs_at_once};
}

}  // namespace wardtune
