#include "worker/training/trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/status_matchers.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/training/row_order.h"
#include "worker/training/testing/token_rows.h"

namespace wardtune {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

std::vector<TrainingRow> Rows(int count, int32_t salt = 0) {
  return testing::TokenRows(count, salt);
}

class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest()
      : model_(testing::LoadTinyModel("trainer", testing::TinyConfig("LlamaForCausalLM"))) {
    options_.lora = {.rank = 4, .alpha = 8.0};
    options_.schedule = {.peak = 5e-3, .decay = LrDecay::kCosine, .warmup_ratio = 0.1};
    options_.weight_decay = 0.01;
    options_.epochs = 2;
    options_.seed = 3;
  }

  TrainingStream Customer(int rows = 11) const {
    return {.name = "customer", .rows = Rows(rows), .model = model_, .rows_per_step = 4};
  }

  absl::StatusOr<std::unique_ptr<Trainer>> Create(std::vector<TrainingStream> streams) {
    return Trainer::Create(options_, std::move(streams), &clock_);
  }

  // Runs to the end (or `steps`) and returns the losses.
  static std::vector<double> Run(Trainer& trainer, int64_t steps = 1 << 20) {
    std::vector<double> losses;
    while (!trainer.done() && steps-- > 0) {
      const auto report = trainer.Step();
      EXPECT_TRUE(report.ok()) << report.status();
      if (!report.ok()) break;
      losses.push_back(report->loss);
    }
    return losses;
  }

  FakeClock clock_;
  DecoderModel model_;
  TrainerOptions options_;
};

TEST_F(TrainerTest, LearnsItsRows) {
  options_.epochs = 40;
  WT_ASSERT_OK_AND_ASSIGN(auto trainer, Create({Customer()}));
  EXPECT_EQ(trainer->total_steps(), 40 * 3);
  const std::vector<double> losses = Run(*trainer);
  EXPECT_LT(losses.back(), 0.5 * losses.front());
  EXPECT_THAT(trainer->Step(), StatusIs(StatusCode::kFailedPrecondition));
}

TEST_F(TrainerTest, LanesLeaveTheLossUnchangedAndRepeatToTheBit) {
  std::vector<TrainingRow> rows = Rows(12);
  for (size_t r = 0; r < rows.size(); ++r) {
    rows[r].ids.resize(45 + r, static_cast<int32_t>(r));
    rows[r].loss_mask.resize(rows[r].ids.size(), 1);
  }
  const auto run = [&](int threads) {
    ConfigureComputeRuntime({.threads = threads});
    auto trainer =
        Create({{.name = "customer", .rows = rows, .model = model_, .rows_per_step = 6}});
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    std::vector<double> losses = Run(**trainer);
    return std::pair(losses, AdapterDigest((*trainer)->Adapter()));
  };
  const auto [alone, alone_digest] = run(1);
  const auto [first, first_digest] = run(2);
  const auto [second, second_digest] = run(2);
  ASSERT_EQ(alone.size(), first.size());
  for (size_t i = 0; i < alone.size(); ++i) EXPECT_NEAR(alone[i], first[i], 1e-4);
  EXPECT_EQ(first_digest, second_digest);
  EXPECT_NE(first_digest, alone_digest) << "two threads did not make two lanes";
}

// Four rows of two lanes and a held one that comes after them, on both threads.
TEST_F(TrainerTest, AHeldRowAfterTheLanesLeavesTheLossUnchangedAndResumesToTheBit) {
  const auto long_rows = [](int count, int32_t salt, size_t length) {
    std::vector<TrainingRow> rows = Rows(count, salt);
    for (TrainingRow& row : rows) {
      row.ids.resize(length, salt + 1);
      row.loss_mask.resize(length, 1);
    }
    return rows;
  };
  const auto create = [&] {
    std::vector<TrainingStream> streams = {Customer()};
    streams[0].rows = long_rows(8, 0, 60);
    streams.push_back({.name = "held",
                       .rows = long_rows(5, 40, 57),
                       .model = model_,
                       .objective = Objective::kKlToBase,
                       .kl_slack = 0.002,
                       .rows_per_step = 1,
                       .weight = 30.0});
    auto trainer = Create(std::move(streams));
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    return *std::move(trainer);
  };
  options_.epochs = 6;
  ConfigureComputeRuntime({.threads = 1});
  const std::vector<double> alone = Run(*create());
  ConfigureComputeRuntime({.threads = 2});
  const auto trainer = create();
  const auto first = trainer->Step();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->stream_losses[1], 0.0);  // B is zero: the adapter is the base
  ASSERT_EQ(Run(*trainer, 5).size(), 5u);
  WT_ASSERT_OK_AND_ASSIGN(const std::string state, trainer->SaveState());
  const std::vector<double> rest = Run(*trainer);
  ASSERT_EQ(alone.size(), 6 + rest.size());
  for (size_t i = 0; i < rest.size(); ++i) EXPECT_NEAR(rest[i], alone[6 + i], 1e-3) << i;

  const auto resumed = create();
  WT_ASSERT_OK(resumed->RestoreState(state));
  EXPECT_EQ(Run(*resumed), rest);
  EXPECT_EQ(AdapterDigest(resumed->Adapter()), AdapterDigest(trainer->Adapter()));
}

TEST_F(TrainerTest, MicroBatchesAndPackingLeaveTheLossUnchanged) {
  WT_ASSERT_OK_AND_ASSIGN(auto packed, Create({Customer()}));
  const std::vector<double> expected = Run(*packed);
  for (int64_t budget : {1, 13}) {  // 1: every row alone, which is the unpacked run
    options_.micro_batch_tokens = budget;
    WT_ASSERT_OK_AND_ASSIGN(auto trainer, Create({Customer()}));
    const std::vector<double> losses = Run(*trainer);
    ASSERT_EQ(losses.size(), expected.size());
    for (size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(losses[i], expected[i], 2e-5) << i;
  }
}

TEST_F(TrainerTest, TokensThatRowsShareGoThroughOnceAndChangeNothing) {
  for (const char* architecture :
       {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    const DecoderModel model =
        testing::LoadTinyModel("trainer_prefix", testing::TinyConfig(architecture));
    WT_ASSERT_OK_AND_ASSIGN(LoraAdapter vector, InitLora(model.config(), {.rank = 2}, 8));
    for (auto& layer : vector.layers) {
      for (LoraMatrices& matrices : layer) std::fill(matrices.b.begin(), matrices.b.end(), 0.02f);
    }
    // The customer's beside a frozen adapter, held rows and states beside them.
    const std::vector<TrainingStream> streams = {
        {.name = "customer",
         .rows = testing::AfterOnePrompt(Rows(11)),
         .model = model,
         .frozen = std::make_shared<const LoraAdapter>(vector),
         .rows_per_step = 4},
        {.name = "held",
         .rows = testing::AfterOnePrompt(Rows(5, 40)),
         .model = model,
         .objective = Objective::kKlToBase,
         .rows_per_step = 3},
        {.name = "anchors",
         .rows = testing::AfterOnePrompt(Rows(5, 20)),
         .model = model,
         .objective = Objective::kStateToBase,
         .rows_per_step = 2}};
    const auto run = [&](const std::vector<TrainingStream>& list, bool share, int64_t budget) {
      options_.share_prefixes = share;
      options_.micro_batch_tokens = budget;
      auto trainer = Create(list);
      EXPECT_TRUE(trainer.ok()) << trainer.status();
      std::vector<double> numbers;
      while (!(*trainer)->done()) {
        const StepReport report = (*trainer)->Step().value();
        numbers.insert(numbers.end(), report.stream_losses.begin(), report.stream_losses.end());
        numbers.push_back(report.grad_norm);
      }
      return numbers;
    };
    const std::vector<double> whole = run(streams, false, 1024);
    for (const int64_t budget : {1024, 60}) {
      for (const bool recompute : {false, true}) {
        options_.recompute_activations = recompute;
        const std::vector<double> shared = run(streams, true, budget);
        ASSERT_EQ(shared.size(), whole.size());
        for (size_t i = 0; i < whole.size(); ++i) {
          EXPECT_NEAR(shared[i], whole[i], 2e-5 * std::abs(whole[i]) + 1e-6)
              << architecture << " number " << i << " budget " << budget;
        }
      }
    }
    options_.recompute_activations = false;
    // No more than rounding, and no less: something was shared.
    EXPECT_NE(run({streams[0]}, true, 1024), run({streams[0]}, false, 1024));
  }
}

TEST_F(TrainerTest, ResumesToTheSameBytes) {
  options_.proximal_weight = 0.1;  // to where the run started, not to where it goes on
  const auto streams = [&] {
    std::vector<TrainingStream> list = {Customer()};
    list[0].rows = testing::AfterOnePrompt(list[0].rows);
    list.push_back({.name = "general",
                    .rows = testing::AfterOnePrompt(Rows(5, 40)),
                    .model = model_,
                    .objective = Objective::kKlToBase,
                    .rows_per_step = 2});
    return list;
  };
  WT_ASSERT_OK_AND_ASSIGN(auto whole, Create(streams()));
  Run(*whole);
  for (int64_t stop : {1, 4}) {
    WT_ASSERT_OK_AND_ASSIGN(auto first, Create(streams()));
    Run(*first, stop);
    WT_ASSERT_OK_AND_ASSIGN(const std::string state, first->SaveState());
    WT_ASSERT_OK_AND_ASSIGN(auto second, Create(streams()));
    WT_ASSERT_OK(second->RestoreState(state));
    EXPECT_EQ(second->step(), stop);
    Run(*second);
    EXPECT_EQ(*SerializeAdapter(second->Adapter()), *SerializeAdapter(whole->Adapter()));
  }
}

// A worker that was short of memory when it saved began anew where there was more of it later.
TEST_F(TrainerTest, AStateOfSmallerMicroBatchesResumesWithThese) {
  const auto create = [&](int64_t tokens) {
    options_.micro_batch_tokens = tokens;
    std::vector<TrainingStream> streams = {Customer()};
    streams.push_back({.name = "general",
                       .rows = Rows(5, 40),
                       .model = model_,
                       .objective = Objective::kKlToBase,
                       .rows_per_step = 2});
    auto trainer = Create(std::move(streams));
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    return *std::move(trainer);
  };
  const auto small = create(13);
  Run(*small, 2);
  WT_ASSERT_OK_AND_ASSIGN(const std::string state, small->SaveState());
  const auto large = create(1024);
  WT_ASSERT_OK_AND_ASSIGN(const std::string state_of_large, large->SaveState());
  WT_ASSERT_OK(large->RestoreState(state));
  EXPECT_EQ(Run(*large), Run(*small));
  EXPECT_EQ(*large->SaveState(), *small->SaveState());
  EXPECT_THAT(create(13)->RestoreState(state_of_large),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("1024 tokens")));
}

TEST_F(TrainerTest, RecomputedActivationsGiveTheSameBytes) {
  WT_ASSERT_OK_AND_ASSIGN(auto kept, Create({Customer()}));
  Run(*kept);
  options_.recompute_activations = true;
  WT_ASSERT_OK_AND_ASSIGN(auto recomputed, Create({Customer()}));
  Run(*recomputed);
  EXPECT_EQ(AdapterDigest(recomputed->Adapter()), AdapterDigest(kept->Adapter()));
}

TEST_F(TrainerTest, GoesOnFromAnAdapter) {
  WT_ASSERT_OK_AND_ASSIGN(auto first, Create({Customer()}));
  Run(*first);
  options_.start = first->Adapter();
  WT_ASSERT_OK_AND_ASSIGN(auto second, Create({Customer()}));
  EXPECT_EQ(AdapterDigest(second->Adapter()), AdapterDigest(first->Adapter()));
  WT_ASSERT_OK_AND_ASSIGN(const StepReport report, second->Step());
  options_.start.reset();
  WT_ASSERT_OK_AND_ASSIGN(auto anew, Create({Customer()}));
  WT_ASSERT_OK_AND_ASSIGN(const StepReport from_zero, anew->Step());
  EXPECT_LT(report.loss, 0.95 * from_zero.loss);

  options_.start = first->Adapter();
  options_.lora.rank = 2;
  EXPECT_THAT(Create({Customer()}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("start: its rank")));
}

// The distance of two adapters of the same shapes.
double Distance(const LoraAdapter& a, const LoraAdapter& b) {
  double sum = 0.0;
  for (size_t l = 0; l < a.layers.size(); ++l) {
    for (const Projection projection : a.spec.targets) {
      const LoraMatrices& x = a.at(static_cast<int64_t>(l), projection);
      const LoraMatrices& y = b.at(static_cast<int64_t>(l), projection);
      for (size_t i = 0; i < x.a.size(); ++i) sum += (x.a[i] - y.a[i]) * (x.a[i] - y.a[i]);
      for (size_t i = 0; i < x.b.size(); ++i) sum += (x.b[i] - y.b[i]) * (x.b[i] - y.b[i]);
    }
  }
  return std::sqrt(sum);
}

TEST_F(TrainerTest, AProximalTermHoldsTheAdapterToItsStart) {
  options_.weight_decay = 0.0;
  options_.epochs = 4;
  std::vector<double> first_norms;
  std::vector<double> later_norms;
  const auto moved = [&](double weight) -> double {
    options_.proximal_weight = weight;
    auto trainer = Create({Customer()});
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    const LoraAdapter start = (*trainer)->Adapter();
    first_norms.push_back((*trainer)->Step()->grad_norm);
    Run(**trainer, 2);  // the first of them still warms up
    later_norms.push_back((*trainer)->Step()->grad_norm);
    Run(**trainer);
    return Distance((*trainer)->Adapter(), start);
  };
  const double free = moved(0.0);
  EXPECT_LT(moved(1.0), 0.8 * free);
  EXPECT_LT(moved(100.0), 0.3 * free);
  // In the first step the adapter is where it started: the term is nothing yet.
  EXPECT_EQ(first_norms[0], first_norms[2]);
  EXPECT_NE(later_norms[0], later_norms[2]);
  options_.proximal_weight = -1.0;
  EXPECT_THAT(Create({Customer()}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("proximal_weight")));
}

TEST_F(TrainerTest, StatesOfOtherRunsAndDamagedOnesAreRefused) {
  WT_ASSERT_OK_AND_ASSIGN(auto trainer, Create({Customer()}));
  Run(*trainer, 2);
  WT_ASSERT_OK_AND_ASSIGN(const std::string state, trainer->SaveState());
  WT_ASSERT_OK_AND_ASSIGN(auto other_rows, Create({Customer(10)}));
  EXPECT_THAT(other_rows->RestoreState(state), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(trainer->RestoreState(state.substr(0, state.size() / 2)),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(trainer->RestoreState(""), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_EQ(trainer->step(), 2);
}

TEST_F(TrainerTest, KlHoldsTheAdapterToTheBase) {
  const auto kl_after = [&](double weight, double slack = 0.0) {
    std::vector<TrainingStream> streams = {Customer()};
    streams.push_back({.name = "general",
                       .rows = Rows(6, 40),
                       .model = model_,
                       .objective = Objective::kKlToBase,
                       .kl_slack = slack,
                       .rows_per_step = 6,
                       .weight = weight});
    auto trainer = Create(std::move(streams));
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    double last = 0.0;
    bool first = true;
    while (!(*trainer)->done()) {
      const auto report = (*trainer)->Step();
      EXPECT_TRUE(report.ok()) << report.status();
      last = report->stream_losses[1];
      if (first) {
        EXPECT_NEAR(last, 0.0, 1e-5);  // B is zero: the adapter is the base
      }
      first = false;
    }
    return last;
  };
  options_.epochs = 30;
  const double free = kl_after(1e-6);
  const double held = kl_after(10.0);
  EXPECT_GT(free, 0.05);
  EXPECT_LT(held, 0.2 * free);
  EXPECT_EQ(kl_after(10.0, 50.0), 0.0);  // all of it is free
}

TEST_F(TrainerTest, ARunThatComesToFewRowsOfAStreamHasTheirTeachers) {
  // One step of two rows of forty.
  options_.max_steps = 1;
  std::vector<TrainingStream> streams = {Customer()};
  streams.push_back({.name = "general",
                     .rows = Rows(40, 41),
                     .model = model_,
                     .objective = Objective::kKlToBase,
                     .rows_per_step = 2});
  WT_ASSERT_OK_AND_ASSIGN(auto few, Create(streams));
  WT_ASSERT_OK_AND_ASSIGN(const StepReport report, few->Step());
  EXPECT_NEAR(report.stream_losses[1], 0.0, 1e-5);
}

TEST_F(TrainerTest, StreamsMayRunOnOtherWeights) {
  WT_ASSERT_OK_AND_ASSIGN(LoraAdapter vector,
                          InitLora(model_.config(), {.rank = 2, .alpha = 4.0}, 77));
  for (auto& layer : vector.layers) {
    for (LoraMatrices& m : layer) m.b.assign(m.b.size(), 0.05f);
  }
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel folded, FoldAdapter(model_, vector));
  TrainingStream customer = Customer();
  customer.model = folded;
  TrainingStream guard = Customer();
  guard.name = "guard";
  WT_ASSERT_OK_AND_ASSIGN(auto trainer, Create({customer, guard}));
  WT_ASSERT_OK_AND_ASSIGN(const StepReport both, trainer->Step());
  WT_ASSERT_OK_AND_ASSIGN(auto plain, Create({Customer()}));
  WT_ASSERT_OK_AND_ASSIGN(const StepReport alone, plain->Step());
  // Same rows in step one only by the seed of stream 0, so compare the folded stream with itself.
  WT_ASSERT_OK_AND_ASSIGN(auto folded_alone, Create({customer}));
  WT_ASSERT_OK_AND_ASSIGN(const StepReport folded_step, folded_alone->Step());
  EXPECT_NEAR(both.stream_losses[0], folded_step.loss, 1e-5);
  EXPECT_GT(std::abs(folded_step.loss - alone.loss), 1e-3);
}

TEST_F(TrainerTest, ANanEndsTheRunWithStepAndReason) {
  // A vector with an infinite entry makes weights whose logits are not finite.
  WT_ASSERT_OK_AND_ASSIGN(LoraAdapter broken, InitLora(model_.config(), options_.lora, 1));
  broken.at(1, Projection::kDown).b[0] = std::numeric_limits<float>::quiet_NaN();
  TrainingStream stream = Customer();
  WT_ASSERT_OK_AND_ASSIGN(stream.model, FoldAdapter(model_, broken));
  WT_ASSERT_OK_AND_ASSIGN(auto trainer, Create({stream}));
  const std::string before = AdapterDigest(trainer->Adapter());
  EXPECT_THAT(trainer->Step(),
              StatusIs(StatusCode::kAborted, HasSubstr("step 1 of 6: the loss is nan")));
  EXPECT_EQ(AdapterDigest(trainer->Adapter()), before);
}

TEST_F(TrainerTest, OptionsAndRowsAreCheckedBeforeTheFirstStep) {
  const auto expect = [&](const std::string& message) {
    EXPECT_THAT(Create({Customer()}), StatusIs(StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  const TrainerOptions good = options_;
  options_.schedule.peak = std::nan("");
  expect("learning_rate");
  options_ = good;
  options_.lora.rank = 1000000;
  expect("lora.rank");
  options_ = good;
  options_.weight_decay = -1.0;
  expect("weight_decay");
  options_ = good;
  options_.epochs = 0;
  expect("epochs");
  options_ = good;
  options_.max_row_tokens = 4;
  expect("stream 'customer' row 0: has 5 tokens");
  options_ = good;

  TrainingStream stream = Customer();
  stream.rows[3].loss_mask.assign(stream.rows[3].ids.size(), 0);
  EXPECT_THAT(Create({stream}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("row 3: has no supervised token")));
  stream = Customer();
  stream.kl_slack = 0.1;  // of a stream that is compared with nothing
  EXPECT_THAT(Create({stream}), StatusIs(StatusCode::kInvalidArgument, HasSubstr("kl_slack")));
  stream = Customer();
  stream.rows[2].ids[1] = 67;
  EXPECT_THAT(Create({stream}), StatusIs(StatusCode::kInvalidArgument, HasSubstr("row 2")));
  stream.rows.clear();
  EXPECT_THAT(Create({stream}), StatusIs(StatusCode::kInvalidArgument, HasSubstr("has no row")));
}

TEST(RowOrderTest, EveryPassIsAPermutationOfItsOwn) {
  RowOrder order(9, 50);
  std::vector<std::vector<int64_t>> passes(2);
  for (int64_t i = 0; i < 100; ++i) passes[i / 50].push_back(order.At(i));
  EXPECT_NE(passes[0], passes[1]);
  for (auto& pass : passes) {
    std::sort(pass.begin(), pass.end());
    for (int64_t i = 0; i < 50; ++i) EXPECT_EQ(pass[i], i);
  }
  RowOrder again(9, 50);
  EXPECT_EQ(again.At(73), RowOrder(9, 50).At(73));
}

TEST(RowOrderTest, WithoutShuffleRowsKeepTheirOrder) {
  RowOrder order(9, 5, /*shuffle=*/false);
  for (int64_t i = 0; i < 12; ++i) EXPECT_EQ(order.At(i), i % 5);
}

TEST(LrScheduleTest, EqualsTransformersAtKnownSteps) {
  // get_cosine_schedule_with_warmup(2 of 10 steps) and the linear one, peak 1e-3.
  const LrScheduleOptions cosine{.peak = 1e-3, .decay = LrDecay::kCosine, .warmup_ratio = 0.2};
  EXPECT_DOUBLE_EQ(LearningRateAt(cosine, 0, 10), 0.0);
  EXPECT_DOUBLE_EQ(LearningRateAt(cosine, 1, 10), 5e-4);
  EXPECT_DOUBLE_EQ(LearningRateAt(cosine, 2, 10), 1e-3);
  EXPECT_NEAR(LearningRateAt(cosine, 6, 10), 5e-4, 1e-12);
  EXPECT_NEAR(LearningRateAt(cosine, 4, 10), 1e-3 * 0.5 * (1.0 + std::sqrt(0.5)), 1e-12);
  const LrScheduleOptions linear{.peak = 1e-3, .decay = LrDecay::kLinear, .warmup_ratio = 0.2};
  EXPECT_NEAR(LearningRateAt(linear, 8, 10), 2.5e-4, 1e-12);
}

TEST(LrScheduleTest, TheShortestRunsLearnToo) {
  for (const LrDecay decay : {LrDecay::kConstant, LrDecay::kLinear, LrDecay::kCosine}) {
    const LrScheduleOptions options{.peak = 1e-3, .decay = decay, .warmup_ratio = 0.05};
    EXPECT_DOUBLE_EQ(LearningRateAt(options, 0, 1), 1e-3);
    EXPECT_DOUBLE_EQ(LearningRateAt(options, 0, 2), 0.0);
    EXPECT_DOUBLE_EQ(LearningRateAt(options, 1, 2), 1e-3);
  }
  const LrScheduleOptions rising{.peak = 1e-3, .decay = LrDecay::kLinear, .warmup_ratio = 1.0};
  EXPECT_DOUBLE_EQ(LearningRateAt(rising, 2, 4), 1e-3 * 2 / 3);
  EXPECT_DOUBLE_EQ(LearningRateAt(rising, 3, 4), 1e-3);
}

}  // namespace
}  // namespace wardtune
