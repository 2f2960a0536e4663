#include "worker/agent/job_error.h"

#include <gtest/gtest.h>

#include "worker/model/out_of_memory.h"

namespace wardtune {
namespace {

TEST(JobErrorTest, CallsOnlyAComputationsErrorOutOfMemory) {
  EXPECT_EQ(FailureOf(OutOfMemoryError("training step: out of memory")).code, kOutOfMemory);
  EXPECT_EQ(FailureOf(absl::ResourceExhaustedError("UploadArtifact: quota")).code, kWorkerFailed);
}

TEST(JobErrorTest, CutsLongMessagesBetweenCharacters) {
  const std::string full(2048, 'a');
  EXPECT_EQ(FailureOf(absl::InternalError(full)).message, full);
  EXPECT_EQ(FailureOf(absl::InternalError(full + "b")).message, full);
  // The last character that fits in part has 2, 3 or 4 bytes.
  for (const std::string character : {"\u00e4", "\u20ac", "\U0001f642"}) {
    for (size_t fits = 1; fits < character.size(); ++fits) {
      const std::string before(2048 - fits, 'a');
      EXPECT_EQ(FailureOf(absl::InternalError(before + character + "b")).message, before);
    }
    const std::string before(2048 - character.size(), 'a');
    EXPECT_EQ(FailureOf(absl::InternalError(before + character + "b")).message, before + character);
  }
}

TEST(JobErrorTest, CutsMessagesThatCarryAReasonToo) {
  const absl::Status status =
      WithJobReason(kInputInvalid, absl::InvalidArgumentError(std::string(5000, 'x')));
  EXPECT_EQ(FailureOf(status).code, kInputInvalid);
  EXPECT_EQ(FailureOf(status).message.size(), 2048u);
}

}  // namespace
}  // namespace wardtune
