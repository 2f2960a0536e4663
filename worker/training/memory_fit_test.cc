#include "worker/training/memory_fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"
#include "worker/model/out_of_memory.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/training/full_parameter_memory.h"
#include "worker/training/memory_estimate.h"

namespace wardtune {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

constexpr int64_t kLongest = 40;

class MemoryFitTest : public ::testing::Test {
 protected:
  MemoryFitTest() {
    options_.lora.rank = 4;
    options_.micro_batch_tokens = 4 * kLongest;
    TrainingRow row;
    row.ids.assign(kLongest, 5);
    row.loss_mask.assign(kLongest, 1);
    streams_ = {{.name = "customer", .rows = {row, row}, .model = base_},
                {.name = "guard", .rows = {row}, .model = base_}};
  }

  // Of a LoRA run whose micro-batches have `tokens` tokens.
  int64_t Needed(int64_t tokens, MemoryQuestion question = {}) const {
    question.lora = options_.lora;
    question.tokens = tokens;
    question.supervised_tokens = tokens;
    question.lanes = ComputeThreads();
    return EstimateTrainingMemory(base_.config(), base_.compute_type(), question).total();
  }
  int64_t Projections() const { return ProjectionBytes(base_.config(), base_.compute_type()); }
  absl::Status Fit(int64_t free_bytes, TrainedPart trained = TrainedPart::kLora) {
    const absl::StatusOr<int64_t> taken = FitIntoMemory(streams_, trained, free_bytes, options_);
    taken_ = taken.value_or(0);
    EXPECT_LE(taken_, free_bytes);
    return taken.status();
  }

  const DecoderModel base_ =
      testing::LoadTinyModel("memory_fit", testing::TinyConfig("LlamaForCausalLM"));
  TrainerOptions options_;
  std::vector<TrainingStream> streams_;
  int64_t taken_ = 0;  // by the last run that fitted
};

TEST_F(MemoryFitTest, LeavesARunThatFitsAsItIs) {
  WT_ASSERT_OK(Fit(Needed(4 * kLongest)));
  EXPECT_EQ(options_.micro_batch_tokens, 4 * kLongest);
  EXPECT_FALSE(options_.recompute_activations);
  EXPECT_EQ(taken_, Needed(4 * kLongest));
}

TEST_F(MemoryFitTest, HalvesTheMicroBatchDownToTheLongestRow) {
  WT_ASSERT_OK(Fit(Needed(4 * kLongest) - 1));
  EXPECT_EQ(options_.micro_batch_tokens, 2 * kLongest);
  WT_ASSERT_OK(Fit(Needed(kLongest)));
  EXPECT_EQ(options_.micro_batch_tokens, kLongest);
  EXPECT_EQ(taken_, Needed(kLongest));
}

TEST_F(MemoryFitTest, RefusesWhatCannotFitAndLeavesTheOptions) {
  const absl::Status status = Fit(1 << 20);
  EXPECT_THAT(status, StatusIs(StatusCode::kResourceExhausted, HasSubstr("one row of 40 tokens")));
  EXPECT_TRUE(IsOutOfMemory(status));
  EXPECT_EQ(options_.micro_batch_tokens, 4 * kLongest);
  EXPECT_FALSE(options_.recompute_activations);
}

TEST_F(MemoryFitTest, CountsTheStartTheKeptAdaptersAndTheFrozenOne) {
  const int64_t plain = Needed(4 * kLongest);
  WT_ASSERT_OK_AND_ASSIGN(options_.start, InitLora(base_.config(), options_.lora, 1));
  streams_[0].frozen = std::make_shared<const LoraAdapter>(*options_.start);
  options_.validation = {.rows = streams_[0].rows, .keep = 2};
  const int64_t more =
      Needed(4 * kLongest,
             {.frozen = options_.lora, .adapters_held = 3, .between_steps_bytes = Projections()});
  ASSERT_GT(more, plain);
  WT_ASSERT_OK(Fit(more));
  EXPECT_EQ(options_.micro_batch_tokens, 4 * kLongest);
  WT_ASSERT_OK(Fit(more - 1));
  EXPECT_EQ(options_.micro_batch_tokens, 2 * kLongest);
}

// A run that fitted step by step was killed when its vector was checked, on a folded copy.
TEST_F(MemoryFitTest, CountsWhatIsHeldBetweenSteps) {
  constexpr int64_t kLargerThanAnyStep = int64_t{1} << 30;
  const MemoryQuestion question{.between_steps_bytes = kLargerThanAnyStep};
  EXPECT_GT(Needed(kLongest, question), kLargerThanAnyStep);
  EXPECT_EQ(Needed(kLongest, question), Needed(4 * kLongest, question));

  WT_ASSERT_OK_AND_ASSIGN(LoraAdapter adapter, InitLora(base_.config(), options_.lora, 1));
  streams_ = {{.name = "customer",
               .rows = {{.ids = {5, 6}, .loss_mask = {0, 1}}},
               .model = base_,
               .frozen = std::make_shared<const LoraAdapter>(std::move(adapter))}};
  WT_ASSERT_OK(Fit(kLargerThanAnyStep));
  EXPECT_GT(taken_, Needed(2, {.frozen = options_.lora})) << "a copy is larger than such a step";
}

TEST_F(MemoryFitTest, CountsTheTeachersOfRowsThatAreHeldToTheBase) {
  streams_[1].objective = Objective::kKlToBase;
  const int64_t more = Needed(4 * kLongest, {.teacher_tokens = kLongest - 1});
  WT_ASSERT_OK(Fit(more));
  EXPECT_EQ(options_.micro_batch_tokens, 4 * kLongest);
  WT_ASSERT_OK(Fit(more - 1));
  EXPECT_EQ(options_.micro_batch_tokens, 2 * kLongest);
}

TEST_F(MemoryFitTest, FullParameterTrainingNeedsAWorkingCopyOfEachModelAndNoAdapter) {
  const auto needed = [&](int64_t tokens, int64_t copies) {
    const MemoryQuestion question{
        .lora = {.targets = {}},
        .tokens = tokens,
        .supervised_tokens = tokens,
        .fixed_bytes = FullParameterBytes(base_.config(), base_.compute_type(), copies),
        .between_steps_bytes = Projections()};
    return EstimateTrainingMemory(base_.config(), base_.compute_type(), question).total();
  };
  WT_EXPECT_OK(Fit(needed(4 * kLongest, 1), TrainedPart::kWeights));
  EXPECT_EQ(options_.micro_batch_tokens, 4 * kLongest);
  WT_EXPECT_OK(Fit(needed(4 * kLongest, 1) - 1, TrainedPart::kWeights));
  EXPECT_EQ(options_.micro_batch_tokens, 2 * kLongest);

  streams_[1].model =
      testing::LoadTinyModel("memory_fit_2", testing::TinyConfig("LlamaForCausalLM"));
  WT_EXPECT_OK(Fit(needed(kLongest, 2), TrainedPart::kWeights));
  EXPECT_EQ(options_.micro_batch_tokens, kLongest);
  const absl::Status status = Fit(1 << 20, TrainedPart::kWeights);
  EXPECT_THAT(status, StatusIs(StatusCode::kResourceExhausted, HasSubstr("max_row_tokens, or")));
}

TEST_F(MemoryFitTest, LeavesWhatIsLowerAlready) {
  options_.micro_batch_tokens = 1;
  options_.recompute_activations = true;
  WT_ASSERT_OK(Fit(Needed(kLongest)));
  EXPECT_EQ(options_.micro_batch_tokens, 1);
  EXPECT_TRUE(options_.recompute_activations);
}

}  // namespace
}  // namespace wardtune
