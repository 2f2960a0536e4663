// A frozen adapter acts as if it were folded into the weights, and nothing of it is trained.
#include <gtest/gtest.h>

#include <memory>

#include "base/status_matchers.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/training/full_parameter_trainer.h"
#include "worker/training/testing/token_rows.h"
#include "worker/training/trainer.h"

namespace wardtune {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;
using ::wardtune::testing::TokenRows;

class FrozenAdapterTest : public ::testing::Test {
 protected:
  FrozenAdapterTest()
      : model_(testing::LoadTinyModel("frozen", testing::TinyConfig("LlamaForCausalLM"))),
        vector_(Vector(0.05f)),
        folded_(FoldAdapter(model_, *vector_).value()) {
    options_.lora = {.rank = 4, .alpha = 8.0};
    options_.schedule = {.peak = 5e-3};
    options_.epochs = 4;
  }

  std::shared_ptr<const LoraAdapter> Vector(float b) const {
    LoraAdapter vector = InitLora(model_.config(), {.rank = 2, .alpha = 4.0}, 77).value();
    for (auto& layer : vector.layers) {
      for (LoraMatrices& m : layer) m.b.assign(m.b.size(), b);
    }
    return std::make_shared<const LoraAdapter>(std::move(vector));
  }

  TrainingStream Customer(const DecoderModel& model,
                          std::shared_ptr<const LoraAdapter> frozen) const {
    return {.name = "customer",
            .rows = TokenRows(11, 0),
            .model = model,
            .frozen = std::move(frozen),
            .rows_per_step = 4};
  }
  TrainingStream Guard() const {
    return {.name = "guard", .rows = TokenRows(5, 40), .model = model_, .rows_per_step = 2};
  }

  absl::StatusOr<std::unique_ptr<Trainer>> Create(std::vector<TrainingStream> streams) {
    return Trainer::Create(options_, std::move(streams), &clock_);
  }

  static std::vector<StepReport> Run(Trainer& trainer) {
    std::vector<StepReport> reports;
    while (!trainer.done()) {
      const auto report = trainer.Step();
      EXPECT_TRUE(report.ok()) << report.status();
      if (!report.ok()) break;
      reports.push_back(*report);
    }
    return reports;
  }

  // Trains on the folded weights and with the frozen adapter, guard rows beside both.
  void ExpectTheSameTraining() {
    WT_ASSERT_OK_AND_ASSIGN(auto folded, Create({Customer(folded_, nullptr), Guard()}));
    WT_ASSERT_OK_AND_ASSIGN(auto frozen, Create({Customer(model_, vector_), Guard()}));
    const std::vector<StepReport> expected = Run(*folded);
    const std::vector<StepReport> found = Run(*frozen);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(found[i].stream_losses[0], expected[i].stream_losses[0], 1e-4) << i;
      EXPECT_NEAR(found[i].stream_losses[1], expected[i].stream_losses[1], 1e-4) << i;
      EXPECT_NEAR(found[i].grad_norm, expected[i].grad_norm, 1e-3 * expected[i].grad_norm) << i;
    }
    const LoraAdapter one = folded->Adapter();
    const LoraAdapter other = frozen->Adapter();
    EXPECT_EQ(other.spec.rank, options_.lora.rank);
    for (size_t l = 0; l < one.layers.size(); ++l) {
      for (const Projection p : one.spec.targets) {
        const auto layer = static_cast<int64_t>(l);
        ASSERT_EQ(other.at(layer, p).b.size(), one.at(layer, p).b.size());
        for (size_t i = 0; i < one.at(layer, p).b.size(); ++i) {
          ASSERT_NEAR(other.at(layer, p).b[i], one.at(layer, p).b[i], 2e-3);
        }
      }
    }
  }

  FakeClock clock_;
  DecoderModel model_;
  std::shared_ptr<const LoraAdapter> vector_;
  DecoderModel folded_;
  TrainerOptions options_;
};

TEST_F(FrozenAdapterTest, TrainsAsOnTheFoldedWeights) { ExpectTheSameTraining(); }

TEST_F(FrozenAdapterTest, AlsoWhereTheTrainedAdapterHasFewerTargets) {
  options_.lora.targets = {Projection::kQ, Projection::kDown};
  ExpectTheSameTraining();
}

TEST_F(FrozenAdapterTest, AlsoWhereActivationsAreRecomputed) {
  options_.recompute_activations = true;
  ExpectTheSameTraining();
}

TEST_F(FrozenAdapterTest, TheFirstStepIsNotThatOfThePlainModel) {
  WT_ASSERT_OK_AND_ASSIGN(auto plain, Create({Customer(model_, nullptr), Guard()}));
  WT_ASSERT_OK_AND_ASSIGN(auto frozen, Create({Customer(model_, vector_), Guard()}));
  const StepReport without = Run(*plain)[0];
  const StepReport with = Run(*frozen)[0];
  EXPECT_GT(std::abs(with.stream_losses[0] - without.stream_losses[0]), 1e-3);
  EXPECT_NEAR(with.stream_losses[1], without.stream_losses[1], 1e-5);
}

TEST_F(FrozenAdapterTest, ItIsActiveInValidation) {
  options_.validation.rows = TokenRows(3, 90);
  options_.validation.every_steps = 1;
  const auto first_loss = [&](TrainingStream customer) {
    auto trainer = Create({std::move(customer), Guard()});
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    return *Run(**trainer)[0].validation_loss;
  };
  const double with = first_loss(Customer(model_, vector_));
  EXPECT_NEAR(with, first_loss(Customer(folded_, nullptr)), 1e-4);
  EXPECT_GT(std::abs(with - first_loss(Customer(model_, nullptr))), 1e-3);
}

TEST_F(FrozenAdapterTest, ARunResumesOnlyWithTheSameOne) {
  WT_ASSERT_OK_AND_ASSIGN(auto first, Create({Customer(model_, vector_), Guard()}));
  WT_ASSERT_OK(first->Step());
  WT_ASSERT_OK_AND_ASSIGN(const std::string state, first->SaveState());
  WT_ASSERT_OK_AND_ASSIGN(auto same, Create({Customer(model_, Vector(0.05f)), Guard()}));
  WT_EXPECT_OK(same->RestoreState(state));
  for (const auto& other : {Vector(0.06f), std::shared_ptr<const LoraAdapter>()}) {
    WT_ASSERT_OK_AND_ASSIGN(auto trainer, Create({Customer(model_, other), Guard()}));
    EXPECT_THAT(trainer->RestoreState(state), StatusIs(StatusCode::kFailedPrecondition));
  }
}

TEST_F(FrozenAdapterTest, WhereItCanNotActItIsRefused) {
  TrainingStream general = Customer(model_, vector_);
  general.name = "general";
  general.objective = Objective::kKlToBase;
  EXPECT_THAT(Create({Customer(model_, nullptr), general}).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("stream 'general'")));

  LoraAdapter cut = *vector_;
  cut.layers.pop_back();
  EXPECT_THAT(Create({Customer(model_, std::make_shared<const LoraAdapter>(cut))}).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("layers")));

  EXPECT_THAT(
      FullParameterTrainer::Create(options_, {Customer(model_, vector_)}, model_, &clock_).status(),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("folded in")));
}

}  // namespace
}  // namespace wardtune
