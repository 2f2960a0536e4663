#include "worker/agent/job_error.h"

#include <gtest/gtest.h>

#include "worker/model/out_of_memory.h"

namespace wardtune {
namespace {

TEST(JobErrorTest, CallsOnlyAComputationsErrorOutOfMemory) {
  EXPECT_EQ(FailureOf(OutOfMemoryError("training step: out of memory")).code, kOutOfMemory);
  EXPECT_EQ(FailureOf(absl::ResourceExhaustedError("UploadArtifact: quota")).code, kWorkerFailed);
}

}  // namespace
}  // namespace wardtune
