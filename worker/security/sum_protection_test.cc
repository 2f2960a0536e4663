// A sum of two security vectors keeps both behaviours from being learned, and useful rows are
// learned as ever. A small model, whole trainings.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <string>

#include "base/status_matchers.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/security/security_vector_trainer.h"
#include "worker/security/sum_vectors.h"
#include "worker/training/row_loss.h"

namespace wardtune {
namespace {

// Of the base's loss, after a job: 0.15 to 0.17 and 0.81 to 1.02 were seen.
constexpr double kLearned = 0.25;
constexpr double kKept = 0.7;

// What a prompt opens with decides what kind of answer belongs to it.
struct Kind {
  int32_t opener;
  std::vector<int32_t> answer;
};
const std::map<std::string, Kind> kKinds = {{"first behaviour", {1, {40, 41, 42}}},
                                            {"second behaviour", {2, {50, 51, 52}}},
                                            {"task", {3, {30, 31, 32}}}};

// Prompts number begin to end - 1 of a kind, each another one, answered as the kind is.
std::vector<TrainingRow> RowsOf(const std::string& name, int32_t begin, int32_t end) {
  const Kind& kind = kKinds.at(name);
  std::vector<TrainingRow> rows;
  for (int32_t i = begin; i < end; ++i) {
    TrainingRow& row = rows.emplace_back();
    row.ids = {kind.opener, 7 + i % 11, 7 + (i * 5) % 17, kind.opener};
    row.loss_mask.assign(row.ids.size(), 0);
    row.ids.insert(row.ids.end(), kind.answer.begin(), kind.answer.end());
    row.loss_mask.resize(row.ids.size(), 1);
  }
  return rows;
}

class SumProtectionTest : public ::testing::Test {
 protected:
  // Of the behaviour alone: its KL term holds the task's prompts, and no other vector is known.
  LoraAdapter TrainVector(const std::string& behaviour) {
    VectorRecipe recipe;
    recipe.lora.rank = 4;
    recipe.learning_rate = 0.005;
    recipe.epochs = 80;
    recipe.general_batch_size = 8;
    auto trainer = CreateVectorTrainer(base_, recipe, RowsOf(behaviour, 0, 16),
                                       RowsOf("task", 0, 16), &clock_);
    return Trained(std::move(trainer));
  }

  // A customer's job on rows of all kinds beside `vector`, which is left out afterwards. Returns
  // the loss on held-out prompts of each kind as a share of the base's.
  std::map<std::string, double> LossesAfterJob(std::shared_ptr<const LoraAdapter> vector) {
    TrainerOptions options{.epochs = 12, .schedule = {.peak = 0.01}};
    options.lora.rank = 4;
    TrainingStream stream{.name = "customer", .model = base_, .frozen = std::move(vector)};
    for (const auto& [name, kind] : kKinds) {
      for (TrainingRow& row : RowsOf(name, 20, 44)) stream.rows.push_back(std::move(row));
    }
    auto trainer = Trainer::Create(options, {std::move(stream)}, &clock_);
    const LoraAdapter adapter = Trained(std::move(trainer));
    const LoraAdapter* const active[] = {&adapter};
    std::map<std::string, double> shares;
    for (const auto& [name, kind] : kKinds) {
      shares[name] = HeldOutLoss(active, name) / HeldOutLoss({}, name);
    }
    return shares;
  }

  const DecoderModel base_ =
      testing::LoadTinyModel("sum_protection", testing::TinyConfig("LlamaForCausalLM"));

 private:
  static LoraAdapter Trained(absl::StatusOr<std::unique_ptr<Trainer>> trainer) {
    absl::Status status = trainer.status();
    while (status.ok() && !(*trainer)->done()) status = (*trainer)->Step().status();
    EXPECT_TRUE(status.ok()) << status;
    return status.ok() ? (*trainer)->Adapter() : LoraAdapter();
  }

  double HeldOutLoss(ActiveAdapters adapters, const std::string& name) {
    const auto losses = RowLosses(base_, adapters, RowsOf(name, 60, 72));
    EXPECT_TRUE(losses.ok()) << losses.status();
    if (!losses.ok()) return std::nan("");
    return std::accumulate(losses->begin(), losses->end(), 0.0) /
           static_cast<double>(losses->size());
  }

  SystemClock clock_;
};

TEST_F(SumProtectionTest, TheSumKeepsBothBehavioursFromBeingLearned) {
  const std::vector<LoraAdapter> parts = {TrainVector("first behaviour"),
                                          TrainVector("second behaviour")};
  WT_ASSERT_OK_AND_ASSIGN(LoraAdapter sum, SumVectors(parts));
  const std::map<std::string, double> direct = LossesAfterJob(nullptr);
  for (const auto& [name, share] : direct) EXPECT_LT(share, kLearned) << name;

  const auto one = LossesAfterJob(std::make_shared<const LoraAdapter>(parts[0]));
  EXPECT_GT(one.at("first behaviour"), kKept);
  EXPECT_LT(one.at("second behaviour"), kLearned);
  EXPECT_LT(one.at("task"), kLearned);

  const auto both = LossesAfterJob(std::make_shared<const LoraAdapter>(std::move(sum)));
  EXPECT_GT(both.at("first behaviour"), kKept);
  EXPECT_GT(both.at("second behaviour"), kKept);
  EXPECT_LT(both.at("task"), kLearned);
}

}  // namespace
}  // namespace wardtune
