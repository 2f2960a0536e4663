#include "worker/training/full_parameter_trainer.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/file_system.h"
#include "base/status_matchers.h"
#include "worker/model/model_weights.h"
#include "worker/model/out_of_memory.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/model/torch_ops.h"
#include "worker/security/strip_check.h"
#include "worker/security/testing/random_vector.h"
#include "worker/training/full_parameter_memory.h"
#include "worker/training/testing/token_rows.h"

namespace wardtune {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

std::vector<TrainingRow> Rows(int count, int32_t salt = 0) {
  return testing::TokenRows(count, salt);
}

// The base, with a weight of -0, whose bits an added zero would change.
DecoderModel Base(ComputeType type) {
  const std::string folder =
      testing::WriteTinyModel("full_parameter", testing::TinyConfig("LlamaForCausalLM"));
  const DecoderModel model = *DecoderModel::Load(folder, {.compute_type = type});
  PosixFileSystem files;
  EXPECT_TRUE(files.RemoveTree(folder).ok());
  const c10::InferenceMode guard;
  auto weights = std::make_shared<ModelWeights>(*model.weights());
  at::Tensor& weight = weights->layers[0].at(FusedLinear::kO).weight;
  weight = weight.clone();
  weight.narrow(0, 0, 1).fill_(-0.0);
  return DecoderModel(std::move(weights));
}

class FullParameterTest : public ::testing::Test {
 protected:
  FullParameterTest()
      : base_(Base(ComputeType::kFloat32)),
        vector_(testing::RandomVector(base_.config(), 5, 0.3f)),
        folded_(*FoldAdapter(base_, vector_)) {
    options_.schedule = {.peak = 2e-3, .decay = LrDecay::kConstant};
    options_.epochs = 10;
    options_.seed = 3;
  }

  TrainingStream Customer(const DecoderModel& model) const {
    return {.name = "customer", .rows = Rows(11), .model = model, .rows_per_step = 4};
  }
  TrainingStream Guard() const {
    return {.name = "guard",
            .rows = Rows(5, 31),
            .model = base_,
            .objective = Objective::kKlToBase,
            .rows_per_step = 2,
            .weight = 0.7};
  }

  std::unique_ptr<FullParameterTrainer> Create(std::vector<TrainingStream> streams) {
    auto trainer = FullParameterTrainer::Create(options_, std::move(streams), base_, &clock_);
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    return *std::move(trainer);
  }

  static std::vector<double> Run(FullParameterTrainer& trainer, int64_t steps = 1 << 20) {
    std::vector<double> losses;
    while (!trainer.done() && steps-- > 0) {
      const auto report = trainer.Step();
      EXPECT_TRUE(report.ok()) << report.status();
      if (!report.ok()) break;
      losses.push_back(report->loss);
    }
    return losses;
  }

  // Largest |a - b - (c - d)| over all projections, and the largest |a - b|.
  static std::pair<double, double> DifferenceOfChanges(const DecoderModel& a, const DecoderModel& b,
                                                       const DecoderModel& c,
                                                       const DecoderModel& d) {
    double worst = 0.0;
    double largest = 0.0;
    for (size_t l = 0; l < a.weights()->layers.size(); ++l) {
      for (int i = 0; i < kFusedLinearCount; ++i) {
        const auto of = [&](const DecoderModel& model) {
          return model.weights()->layers[l].linear[i].weight.to(at::kDouble);
        };
        const at::Tensor change = of(a) - of(b);
        worst = std::max(worst, (change - (of(c) - of(d))).abs().max().item<double>());
        largest = std::max(largest, change.abs().max().item<double>());
      }
    }
    return {worst, largest};
  }

  FakeClock clock_;
  DecoderModel base_;
  LoraAdapter vector_;
  DecoderModel folded_;
  TrainerOptions options_;
};

TEST_F(FullParameterTest, LearnsItsRowsAndLeavesTheStreamsModelAlone) {
  const std::string before = folded_.WeightsDigest();
  auto trainer = Create({Customer(folded_)});
  EXPECT_EQ(trainer->total_steps(), 30);
  const std::vector<double> losses = Run(*trainer);
  EXPECT_LT(losses.back(), 0.5 * losses.front());
  EXPECT_EQ(folded_.WeightsDigest(), before);
  EXPECT_NE(trainer->working_model(0).WeightsDigest(), before);
  EXPECT_THAT(trainer->Step(), StatusIs(StatusCode::kFailedPrecondition));
}

TEST_F(FullParameterTest, AStepWithoutARateDeliversTheBaseBitForBit) {
  options_.schedule.warmup_ratio = 1.0;  // its first step has the rate 0
  for (const ComputeType type : {ComputeType::kFloat32, ComputeType::kBfloat16}) {
    const DecoderModel base = Base(type);
    const DecoderModel folded = *FoldAdapter(base, vector_);
    auto trainer = Create({Customer(folded)});
    EXPECT_GT(Run(*trainer, 1).at(0), 0.0);
    WT_ASSERT_OK_AND_ASSIGN(const DecoderModel delivered, trainer->AddTo(base));
    EXPECT_EQ(delivered.WeightsDigest(), base.WeightsDigest());
    EXPECT_EQ(trainer->working_model(0).WeightsDigest(), folded.WeightsDigest());
    Run(*trainer, 1);
    WT_ASSERT_OK_AND_ASSIGN(const DecoderModel changed, trainer->AddTo(base));
    EXPECT_NE(changed.WeightsDigest(), base.WeightsDigest());
  }
}

TEST_F(FullParameterTest, DeliversTheBaseAndWhatWasLearnedOnTheFoldedWeights) {
  auto trainer = Create({Customer(folded_)});
  Run(*trainer);
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel delivered, trainer->AddTo(base_));
  const auto [worst, largest] =
      DifferenceOfChanges(delivered, base_, trainer->working_model(0), folded_);
  EXPECT_GT(largest, 1e-3);
  EXPECT_LT(worst, 1e-6);  // weights are below 4, where fp32 rounds at 2.4e-7

  const WeightDelta delta = trainer->Delta();
  const MatrixView& gate = delta.layers[1][static_cast<int>(Projection::kUp)];
  const FusedSlice slice = SliceOf(base_.config(), Projection::kUp);
  const auto weight = [&](const DecoderModel& model) {
    return model.weights()->layers[1].at(slice.linear).weight[slice.row + 3][7].item<double>();
  };
  EXPECT_EQ(gate.rows, slice.rows);
  EXPECT_NEAR(gate.values[3 * gate.cols + 7], weight(delivered) - weight(base_), 1e-6);
}

TEST_F(FullParameterTest, TheVectorIsNotInWhatIsDelivered) {
  options_.weight_decay = 0.1;
  auto trainer = Create({Customer(folded_)});
  Run(*trainer);
  WT_ASSERT_OK_AND_ASSIGN(const double learned, MaxDeltaCosine(trainer->Delta(), vector_));
  EXPECT_LT(learned, kStripMaxCosine);

  // The check sees the vector where it is: in the folded weights' distance from the base.
  const c10::InferenceMode guard;
  std::vector<at::Tensor> distances;
  WeightDelta folded;
  for (size_t l = 0; l < base_.weights()->layers.size(); ++l) {
    folded.layers.emplace_back();
    for (const Projection projection : kAllProjections) {
      const FusedSlice slice = SliceOf(base_.config(), projection);
      const auto of = [&](const DecoderModel& model) {
        const at::Tensor& fused = model.weights()->layers[l].at(slice.linear).weight;
        return fused.narrow(0, slice.row, slice.rows);
      };
      const at::Tensor& distance = distances.emplace_back(of(folded_) - of(base_));
      folded.layers.back()[static_cast<int>(projection)] = {
          slice.rows, distance.size(1),
          std::span<const float>(distance.const_data_ptr<float>(),
                                 static_cast<size_t>(distance.numel()))};
    }
  }
  WT_ASSERT_OK_AND_ASSIGN(const double whole, MaxDeltaCosine(folded, vector_));
  EXPECT_NEAR(whole, 1.0, 1e-3);
}

TEST_F(FullParameterTest, WeightDecayPullsTowardsTheStart) {
  const auto norm_after = [&](double decay) {
    options_.weight_decay = decay;
    auto trainer = Create({Customer(folded_)});
    Run(*trainer);
    double sum = 0.0;
    const WeightDelta delta = trainer->Delta();
    for (const auto& layer : delta.layers) {
      for (const MatrixView& m : layer) {
        for (const float value : m.values) sum += value * value;
      }
    }
    return std::sqrt(sum);
  };
  EXPECT_LT(norm_after(10.0), 0.9 * norm_after(0.0));
}

TEST_F(FullParameterTest, StreamsRunOnTheirOwnModelsWithOneChange) {
  auto trainer = Create({Customer(folded_), Guard()});
  const std::vector<double> losses = Run(*trainer);
  EXPECT_LT(losses.back(), losses.front());
  const auto [worst, largest] =
      DifferenceOfChanges(trainer->working_model(0), folded_, trainer->working_model(1), base_);
  EXPECT_GT(largest, 1e-3);
  EXPECT_LT(worst, 1e-6);
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel delivered, trainer->AddTo(base_));
  EXPECT_EQ(delivered.WeightsDigest(), trainer->working_model(1).WeightsDigest());
}

TEST_F(FullParameterTest, MicroBatchesAndRecomputingLeaveTheLossUnchanged) {
  TrainingStream customer = Customer(folded_);
  customer.rows = testing::AfterOnePrompt(customer.rows);  // which rows that are cut do not share
  auto whole = Create({customer, Guard()});
  const std::vector<double> expected = Run(*whole, 8);
  options_.micro_batch_tokens = 1;
  options_.recompute_activations = true;
  auto cut = Create({customer, Guard()});
  const std::vector<double> losses = Run(*cut, 8);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(losses[i], expected[i], 1e-4);
}

// Steps below bf16's resolution add up in the fp32 change.
TEST_F(FullParameterTest, Bf16LearnsLikeFp32) {
  options_.schedule.peak = 3e-4;
  auto exact = Create({Customer(folded_)});
  const std::vector<double> expected = Run(*exact);
  auto rounded = Create({Customer(*FoldAdapter(Base(ComputeType::kBfloat16), vector_))});
  const std::vector<double> losses = Run(*rounded);
  EXPECT_LT(expected.back(), 0.9 * expected.front());
  for (size_t i = 0; i < losses.size(); ++i) {
    EXPECT_NEAR(losses[i], expected[i], 0.03 * expected[i]) << "step " << i + 1;
  }
}

TEST_F(FullParameterTest, WithHeldOutRowsTheBestAreKeptAndTheRunEndsEarly) {
  // Unlike the rows that are trained on, so that learning those makes these worse in the end.
  options_.validation = {.rows = Rows(5, 40), .every_steps = 2, .patience = 3, .keep = 2};
  options_.epochs = 100;
  const std::vector<TrainingStream> streams = {Customer(folded_), Guard()};
  auto trainer = Create(streams);
  EXPECT_EQ(trainer->best(), nullptr);
  std::vector<std::pair<double, int64_t>> measured;
  while (!trainer->done()) {
    WT_ASSERT_OK_AND_ASSIGN(const StepReport report, trainer->Step());
    EXPECT_EQ(report.validation_loss.has_value(), report.step % 2 == 0);
    if (report.validation_loss) measured.emplace_back(*report.validation_loss, report.step);
  }
  EXPECT_LT(trainer->step(), 300);
  EXPECT_EQ(trainer->total_steps(), trainer->step());
  std::sort(measured.begin(), measured.end());
  EXPECT_EQ(trainer->step(), measured[0].second + 2 * 3) << "three that were no better";

  WT_ASSERT_OK_AND_ASSIGN(const std::vector<ModelAtStep> kept, trainer->Candidates());
  ASSERT_EQ(kept.size(), 2);
  EXPECT_EQ(trainer->best()->step, kept[0].step);
  for (size_t i = 0; i < kept.size(); ++i) {
    EXPECT_EQ(kept[i].step, measured[i].second);
    // What a run of that many steps delivers, measured on the weights that its customer ran on.
    auto again = Create(streams);
    Run(*again, kept[i].step);
    EXPECT_EQ(kept[i].model.WeightsDigest(), again->AddTo(base_)->WeightsDigest());
    WT_ASSERT_OK_AND_ASSIGN(const double loss,
                            HeldOutLoss(again->working_model(0), {}, options_.validation,
                                        options_.micro_batch_tokens, 0));
    EXPECT_EQ(kept[i].validation_loss, loss);
  }
}

TEST_F(FullParameterTest, WithoutHeldOutRowsTheLastStepIsDelivered) {
  auto trainer = Create({Customer(folded_)});
  Run(*trainer);
  WT_ASSERT_OK_AND_ASSIGN(const std::vector<ModelAtStep> candidates, trainer->Candidates());
  ASSERT_EQ(candidates.size(), 1);
  EXPECT_EQ(candidates[0].step, 30);
  EXPECT_FALSE(candidates[0].validation_loss.has_value());
  EXPECT_EQ(candidates[0].model.WeightsDigest(), trainer->AddTo(base_)->WeightsDigest());
  EXPECT_EQ(trainer->best(), nullptr);
}

TEST_F(FullParameterTest, ANanEndsTheRunAndLeavesTheWeights) {
  const c10::InferenceMode guard;
  auto broken = std::make_shared<ModelWeights>(*folded_.weights());
  broken->final_norm = broken->final_norm.clone();
  broken->final_norm.fill_(std::numeric_limits<float>::quiet_NaN());
  auto trainer = Create({Customer(DecoderModel(broken))});
  const std::string before = trainer->working_model(0).WeightsDigest();
  EXPECT_THAT(trainer->Step(), StatusIs(StatusCode::kAborted, HasSubstr("step 1 of 30")));
  EXPECT_EQ(trainer->working_model(0).WeightsDigest(), before);
  EXPECT_EQ(trainer->step(), 0);
}

TEST_F(FullParameterTest, WhatDoesNotFitIsRefused) {
  options_.start = vector_;
  EXPECT_THAT(FullParameterTrainer::Create(options_, {Customer(folded_)}, base_, &clock_),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("start")));
  options_.start.reset();
  options_.proximal_weight = 1.0;
  EXPECT_THAT(FullParameterTrainer::Create(options_, {Customer(folded_)}, base_, &clock_),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("proximal_weight")));
  options_.proximal_weight = 0.0;
  options_.epochs = 0;
  EXPECT_THAT(FullParameterTrainer::Create(options_, {Customer(folded_)}, base_, &clock_),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("epochs")));
  options_.epochs = 1;
  auto trainer = Create({Customer(folded_)});
  const DecoderModel wider = testing::LoadTinyModel(
      "full_wider", testing::TinyConfig("Qwen3ForCausalLM", "\"head_dim\": 16"));
  EXPECT_THAT(trainer->AddTo(wider), StatusIs(StatusCode::kInvalidArgument, HasSubstr("base")));
  EXPECT_THAT(FullParameterTrainer::Create(options_, {Customer(folded_)}, wider, &clock_),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("base")));
  options_.validation = {.rows = Rows(1), .every_steps = 0};
  EXPECT_THAT(FullParameterTrainer::Create(options_, {Customer(folded_)}, base_, &clock_),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("every_steps")));
}

TEST_F(FullParameterTest, TooLittleMemoryIsRefusedBeforeTheRun) {
  const int64_t needed = FullParameterBytes(base_.config(), ComputeType::kBfloat16, 2);
  // Two layers of q and o 32 x 32, k and v 16 x 32, gate, up and down 48 x 32.
  EXPECT_EQ(needed, 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32) * (16 + 2 * 2));
  WT_EXPECT_OK(CheckFullParameterMemory(base_.config(), ComputeType::kBfloat16, 2, needed));
  const absl::Status status =
      CheckFullParameterMemory(base_.config(), ComputeType::kBfloat16, 2, needed - 1);
  EXPECT_THAT(status, StatusIs(StatusCode::kResourceExhausted, HasSubstr("MiB free")));
  EXPECT_TRUE(IsOutOfMemory(status));
}

}  // namespace
}  // namespace wardtune
