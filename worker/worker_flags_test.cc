#include "worker/worker_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

class WorkerFlagsTest : public ::testing::Test {
 protected:
  WorkerFlagsTest() : folder_(absl::StrCat(::testing::TempDir(), "/worker_flags_", getpid())) {
    EXPECT_TRUE(files_.CreateFolders(folder_).ok());
    EXPECT_TRUE(files_.WriteFileAtomically(folder_ + "/api_key", "wt_worker_x\n").ok());
    EXPECT_TRUE(files_.WriteFileAtomically(folder_ + "/sv_key", std::string(64, 'a')).ok());
  }
  ~WorkerFlagsTest() override { EXPECT_TRUE(files_.RemoveTree(folder_).ok()); }

  absl::StatusOr<WorkerSettings> Read(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "wardtune-worker");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    return ReadWorkerFlags(static_cast<int>(argv.size()), argv.data(), files_);
  }

  PosixFileSystem files_;
  const std::string folder_;
};

TEST_F(WorkerFlagsTest, TakesDashesAndUnderscores) {
  WT_ASSERT_OK_AND_ASSIGN(
      const WorkerSettings settings,
      Read({"--server=host-a:1", absl::StrCat("--api-key-file=", folder_, "/api_key"),
            absl::StrCat("--sv_key_file=", folder_, "/sv_key"), "--models-dir=/models-dir",
            "--dtype=float32", "--worker-id=w-1"}));
  EXPECT_EQ(settings.client.server, "host-a:1");
  EXPECT_EQ(settings.client.api_key, "wt_worker_x");
  EXPECT_EQ(settings.client.worker_id, "w-1");
  EXPECT_EQ(settings.models_dir, "/models-dir");
  EXPECT_EQ(settings.decoder.compute_type, ComputeType::kFloat32);
}

TEST_F(WorkerFlagsTest, NamesTheFlagThatIsWrong) {
  const std::vector<std::string> good = {absl::StrCat("--api-key-file=", folder_, "/api_key"),
                                         absl::StrCat("--sv-key-file=", folder_, "/sv_key"),
                                         "--models-dir=/m", "--dtype=auto", "--score-tokens=48"};
  for (const char* bad : {"--dtype=int4", "--score-tokens=0", "--models-dir="}) {
    std::vector<std::string> arguments = good;
    arguments.push_back(bad);
    EXPECT_THAT(Read(arguments), StatusIs(absl::StatusCode::kInvalidArgument));
  }
  std::vector<std::string> arguments = good;
  arguments.push_back(absl::StrCat("--sv-key-file=", folder_, "/none"));
  EXPECT_THAT(Read(arguments), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
}

}  // namespace
}  // namespace wardtune
