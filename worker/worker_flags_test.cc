#include "worker/worker_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
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
            "--dtype=float32", "--worker-id=w-1", "--jobs-at-once=4"}));
  EXPECT_EQ(settings.client.server, "host-a:1");
  EXPECT_EQ(settings.client.api_key, "wt_worker_x");
  EXPECT_EQ(settings.client.worker_id, "w-1");
  EXPECT_EQ(settings.models_dir, "/models-dir");
  EXPECT_EQ(settings.jobs_at_once, 4);
  EXPECT_EQ(settings.decoder.compute_type, ComputeType::kFloat32);
}

TEST_F(WorkerFlagsTest, ReadsOldKeysFromFilesOrTheEnvironment) {
  const auto id = [](char digit) { return SealingKey::Parse(std::string(64, digit))->id(); };
  EXPECT_TRUE(files_.WriteFileAtomically(folder_ + "/old_1", std::string(64, 'b')).ok());
  EXPECT_TRUE(files_.WriteFileAtomically(folder_ + "/old_2", std::string(64, 'c')).ok());
  const std::vector<std::string> common = {absl::StrCat("--api-key-file=", folder_, "/api_key"),
                                           absl::StrCat("--sv-key-file=", folder_, "/sv_key"),
                                           "--models-dir=/m"};
  const auto read = [&](const std::string& old_keys) {
    std::vector<std::string> arguments = common;
    arguments.push_back(absl::StrCat("--old-sv-key-files=", old_keys));
    return Read(arguments);
  };
  WT_ASSERT_OK_AND_ASSIGN(const WorkerSettings by_file,
                          read(absl::StrCat(folder_, "/old_1,", folder_, "/old_2")));
  EXPECT_THAT(by_file.sealing_keys.ids(), ElementsAre(id('a'), id('b'), id('c')));
  EXPECT_FALSE(by_file.reseal);
  EXPECT_THAT(read(folder_ + "/none"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));

  setenv("WARDTUNE_OLD_SV_KEYS",
         absl::StrCat(std::string(64, 'd'), ", ", std::string(64, 'e'), "\n").c_str(), 1);
  WT_ASSERT_OK_AND_ASSIGN(const WorkerSettings by_environment, read(""));
  EXPECT_THAT(by_environment.sealing_keys.ids(), ElementsAre(id('a'), id('d'), id('e')));
  setenv("WARDTUNE_OLD_SV_KEYS", "short", 1);
  const auto refused = read("");
  unsetenv("WARDTUNE_OLD_SV_KEYS");
  EXPECT_THAT(refused,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("WARDTUNE_OLD_SV_KEYS")));
}

TEST_F(WorkerFlagsTest, ResealingNeedsNoModels) {
  WT_ASSERT_OK_AND_ASSIGN(
      const WorkerSettings settings,
      Read({absl::StrCat("--api-key-file=", folder_, "/api_key"),
            absl::StrCat("--sv-key-file=", folder_, "/sv_key"), "--models-dir=", "--reseal"}));
  EXPECT_TRUE(settings.reseal);
  Read({"--noreseal"}).status().IgnoreError();  // Flags keep their value from test to test.
}

TEST_F(WorkerFlagsTest, NamesTheFlagThatIsWrong) {
  const std::vector<std::string> good = {absl::StrCat("--api-key-file=", folder_, "/api_key"),
                                         absl::StrCat("--sv-key-file=", folder_, "/sv_key"),
                                         "--models-dir=/m",
                                         "--dtype=auto",
                                         "--score-tokens=48",
                                         "--jobs-at-once=1"};
  for (const char* bad : {"--dtype=int4", "--score-tokens=0", "--models-dir=", "--jobs-at-once=0",
                          "--jobs-at-once=65"}) {
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
