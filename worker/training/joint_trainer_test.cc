#include "worker/training/joint_trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/status_matchers.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/training/testing/token_rows.h"

namespace wardtune {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

// Rows of fixed lengths whose tokens depend on `salt`; long enough that the four jobs together
// fill more than one lane.
std::vector<TrainingRow> Rows(int count, int32_t salt) {
  return testing::TokenRows(count, salt, 30, 5);
}

constexpr size_t kJobs = 4;

class JointTrainerTest : public ::testing::Test {
 protected:
  JointTrainerTest()
      : model_(testing::LoadTinyModel("joint", testing::TinyConfig("LlamaForCausalLM"))) {
    ConfigureComputeRuntime({.threads = 2});
  }

  // Mixed ranks, targets, learning rates, lengths of the run.
  std::vector<JointTrainer::Member> Members(int32_t salt_of_second = 7) const {
    return MembersOn(model_, salt_of_second);
  }
  static std::vector<JointTrainer::Member> MembersOn(const DecoderModel& model,
                                                     int32_t salt_of_second) {
    std::vector<JointTrainer::Member> members(kJobs);
    const int64_t ranks[] = {4, 2, 8, 16};
    for (size_t i = 0; i < members.size(); ++i) {
      TrainerOptions& options = members[i].options;
      options.lora.rank = ranks[i];
      options.lora.alpha = 2.0 * static_cast<double>(ranks[i]);
      options.schedule = {.peak = 2e-3 * static_cast<double>(i + 1)};
      options.epochs = static_cast<int64_t>(i) + 1;
      options.seed = i;
      members[i].streams.push_back(
          {.name = "customer",
           .rows = Rows(6, i == 1 ? salt_of_second : static_cast<int32_t>(i) * 11),
           .model = model,
           .rows_per_step = 3});
    }
    members[1].options.lora.targets = {Projection::kQ, Projection::kDown};
    return members;
  }

  // Every job's losses; a job that ends with an error has a NaN as its last.
  static std::vector<std::vector<double>> Run(JointTrainer& trainer) {
    std::vector<std::vector<double>> losses(kJobs);
    while (!trainer.done()) {
      const auto reports = trainer.Step();
      EXPECT_TRUE(reports.ok()) << reports.status();
      if (!reports.ok()) break;
      for (const auto& [job, report] : *reports) {
        losses[job].push_back(report.ok() ? report->loss : std::nan(""));
      }
    }
    return losses;
  }

  FakeClock clock_;
  DecoderModel model_;
};

TEST_F(JointTrainerTest, EachJobsLossIsItsLossAlone) {
  WT_ASSERT_OK_AND_ASSIGN(auto joint, JointTrainer::Create(Members(), &clock_));
  const auto together = Run(*joint);
  std::vector<JointTrainer::Member> members = Members();
  for (size_t i = 0; i < members.size(); ++i) {
    WT_ASSERT_OK_AND_ASSIGN(auto alone,
                            Trainer::Create(members[i].options, members[i].streams, &clock_));
    for (const double loss : together[i]) {
      WT_ASSERT_OK_AND_ASSIGN(const StepReport report, alone->Step());
      EXPECT_NEAR(loss, report.loss, 1e-4) << "job " << i << " step " << report.step;
    }
    EXPECT_TRUE(alone->done());
  }
}

TEST_F(JointTrainerTest, OneTenantsRowsChangeNoBitOfAnothersAdapter) {
  // In bf16 with the products of this project's own, where the CPU has them.
  for (const ComputeType type : {ComputeType::kFloat32, ComputeType::kBfloat16}) {
    const DecoderModel model =
        testing::LoadTinyModel("joint_typed", testing::TinyConfig("LlamaForCausalLM"), type);
    WT_ASSERT_OK_AND_ASSIGN(auto first, JointTrainer::Create(MembersOn(model, 7), &clock_));
    WT_ASSERT_OK_AND_ASSIGN(auto second, JointTrainer::Create(MembersOn(model, 31), &clock_));
    Run(*first);
    Run(*second);
    for (size_t job = 0; job < kJobs; ++job) {
      const bool same = AdapterDigest(first->Adapter(job)) == AdapterDigest(second->Adapter(job));
      EXPECT_EQ(same, job != 1) << "job " << job;
    }
  }
}

TEST_F(JointTrainerTest, WhatOneTenantsRowsShareChangesNoBitOfAnothersAdapter) {
  const auto adapters = [&](ComputeType type, bool alike) {
    const DecoderModel model =
        testing::LoadTinyModel("joint_alike", testing::TinyConfig("LlamaForCausalLM"), type);
    std::vector<JointTrainer::Member> members = MembersOn(model, 7);
    // Its rows come before and after those of the others in a step.
    const DecoderModel other =
        testing::LoadTinyModel("joint_alike_other", testing::TinyConfig("LlamaForCausalLM"), type);
    members[0].streams.push_back({.name = "more", .rows = Rows(4, 3), .model = other});
    int32_t token = 0;
    for (TrainingRow& row : members[1].streams[0].rows) {
      row.ids.insert(row.ids.begin(), 12, alike ? 5 : token++ % 67);
      row.loss_mask.insert(row.loss_mask.begin(), 12, 0);
    }
    auto joint = JointTrainer::Create(std::move(members), &clock_);
    EXPECT_TRUE(joint.ok()) << joint.status();
    Run(**joint);
    std::vector<std::string> digests;
    for (size_t job = 0; job < kJobs; ++job) {
      digests.push_back(AdapterDigest((*joint)->Adapter(job)));
    }
    return digests;
  };
  for (const ComputeType type : {ComputeType::kFloat32, ComputeType::kBfloat16}) {
    const auto alike = adapters(type, true);
    const auto different = adapters(type, false);
    for (size_t job = 0; job < kJobs; ++job) {
      EXPECT_EQ(alike[job] == different[job], job != 1) << "job " << job;
    }
  }
}

TEST_F(JointTrainerTest, AJobThatEndsInNanLeavesTheOthersAlone) {
  std::vector<JointTrainer::Member> members = Members();
  WT_ASSERT_OK_AND_ASSIGN(LoraAdapter broken,
                          InitLora(model_.config(), members[1].options.lora, 1));
  broken.at(1, Projection::kDown).b[0] = std::numeric_limits<float>::quiet_NaN();
  members[1].options.start = broken;
  WT_ASSERT_OK_AND_ASSIGN(auto joint, JointTrainer::Create(std::move(members), &clock_));
  const auto losses = Run(*joint);
  ASSERT_EQ(losses[1].size(), 1u);
  EXPECT_TRUE(std::isnan(losses[1][0]));
  WT_ASSERT_OK_AND_ASSIGN(auto healthy, JointTrainer::Create(Members(), &clock_));
  const auto expected = Run(*healthy);
  for (const size_t job : {0u, 2u, 3u}) {
    ASSERT_EQ(losses[job].size(), expected[job].size());
    for (size_t i = 0; i < losses[job].size(); ++i) {
      EXPECT_NEAR(losses[job][i], expected[job][i], 1e-4) << "job " << job;
    }
  }
}

TEST_F(JointTrainerTest, MembersShareTheirWeights) {
  std::vector<JointTrainer::Member> members = Members();
  members[2].streams[0].model =
      testing::LoadTinyModel("joint_other", testing::TinyConfig("LlamaForCausalLM"));
  EXPECT_THAT(JointTrainer::Create(std::move(members), &clock_),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("the same weights")));
  EXPECT_THAT(JointTrainer::Create({}, &clock_), StatusIs(StatusCode::kInvalidArgument));
  members = Members();
  members[1].options.validation.rows = Rows(1, 5);
  EXPECT_THAT(JointTrainer::Create(std::move(members), &clock_),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("validation")));
}

}  // namespace
}  // namespace wardtune
