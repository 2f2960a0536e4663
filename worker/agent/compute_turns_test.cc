#include "worker/agent/compute_turns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "base/status_matchers.h"
#include "base/thread_pool.h"
#include "worker/agent/testing/await.h"
#include "worker/model/out_of_memory.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/training/joint_step.h"
#include "worker/training/testing/token_rows.h"

namespace wardtune {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::SizeIs;

void AwaitWaiting(const ComputeTurns& turns, size_t count) {
  testing::Await([&] { return turns.waiting() >= count; });
}

TEST(ComputeTurns, TurnsComeInTheOrderInWhichTheyWereAskedFor) {
  SystemClock clock;
  ComputeTurns turns(clock);
  std::vector<int> order;  // guarded by the turn
  ThreadPool threads(3, 3);
  {
    const ComputeTurns::Turn first(turns);
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(threads.Schedule([&, i] {
        const ComputeTurns::Turn turn(turns);
        order.push_back(i);
      }));
      AwaitWaiting(turns, static_cast<size_t>(i) + 1);
    }
    EXPECT_THAT(order, SizeIs(0));
    turns.Yield();
    EXPECT_THAT(order, ElementsAre(0, 1, 2)) << "all asked before the turn was given up";
  }
  threads.Stop();
  const ComputeTurns::Turn free_again(turns);
}

TEST(ComputeTurns, AJobThatIsAwayLetsOthersCompute) {
  SystemClock clock;
  ComputeTurns turns(clock);
  bool computed = false;  // guarded by the turn
  ThreadPool threads(1, 1);
  std::optional<ComputeTurns::Turn> turn(turns);
  ASSERT_TRUE(threads.Schedule([&] {
    const ComputeTurns::Turn other(turns);
    computed = true;
  }));
  AwaitWaiting(turns, 1);
  {
    const ComputeTurns::Away away(turns);
    threads.Stop();
  }
  EXPECT_TRUE(computed);
  // It has the turn again.
  ThreadPool more(1, 1);
  ASSERT_TRUE(more.Schedule([&] { const ComputeTurns::Turn other(turns); }));
  AwaitWaiting(turns, 1);
  turn.reset();  // for the pool to end
}

// Jobs of different lengths of run on one model, each on a thread of its own.
class JointStepsTest : public ::testing::Test {
 protected:
  static constexpr int kJobs = 3;

  JointStepsTest()
      : model_(testing::LoadTinyModel("turns", testing::TinyConfig("LlamaForCausalLM"))) {
    ConfigureComputeRuntime({.threads = 2});
  }

  std::unique_ptr<Trainer> NewTrainer(int job, StepRunner* runner, int64_t micro_batch = 1024) {
    TrainerOptions options;
    options.micro_batch_tokens = micro_batch;
    options.lora.rank = 2 + job;
    options.max_steps = 4 + job;
    options.seed = static_cast<uint64_t>(job);
    options.step_runner = runner;
    TrainingStream stream{.name = "customer",
                          .rows = testing::TokenRows(6, 7 * job, 30),
                          .model = model_,
                          .rows_per_step = 3};
    auto trainer = Trainer::Create(options, {std::move(stream)}, &clock_);
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    return *std::move(trainer);
  }

  static std::vector<double> RunToItsEnd(Trainer& trainer) {
    std::vector<double> losses;
    while (!trainer.done()) {
      const absl::StatusOr<StepReport> report = trainer.Step();
      EXPECT_TRUE(report.ok()) << report.status();
      if (!report.ok()) break;
      losses.push_back(report->loss);
    }
    return losses;
  }

  // Losses of each job; the first steps of all meet.
  std::vector<std::vector<double>> RunTogether(ComputeTurns& turns) {
    std::vector<std::vector<double>> losses(kJobs);
    ThreadPool threads(kJobs, kJobs);
    {
      const ComputeTurns::Turn until_all_wait(turns);
      for (int job = 0; job < kJobs; ++job) {
        EXPECT_TRUE(threads.Schedule([&, job] {
          const ComputeTurns::Turn turn(turns);
          losses[static_cast<size_t>(job)] = RunToItsEnd(*NewTrainer(job, &turns));
        }));
      }
      AwaitWaiting(turns, kJobs);
    }
    threads.Stop();
    return losses;
  }

  SystemClock clock_;
  DecoderModel model_;
};

TEST_F(JointStepsTest, JobsThatTrainGoThroughTheModelTogether) {
  std::vector<size_t> jobs_in_step;
  ComputeTurns turns([&](std::span<TrainingJob* const> jobs) {
    jobs_in_step.push_back(jobs.size());
    return RunJointStep(jobs, clock_);
  });
  const auto together = RunTogether(turns);
  EXPECT_THAT(jobs_in_step, ElementsAre(3, 3, 3, 3, 2, 1));
  for (int job = 0; job < kJobs; ++job) {
    EXPECT_THAT(
        together[static_cast<size_t>(job)],
        ::testing::Pointwise(::testing::DoubleNear(1e-4), RunToItsEnd(*NewTrainer(job, nullptr))));
  }
}

TEST_F(JointStepsTest, StepsThatDoNotFitTogetherRunAlone) {
  std::vector<size_t> jobs_in_step;
  ComputeTurns turns([&](std::span<TrainingJob* const> jobs)
                         -> absl::StatusOr<std::vector<absl::StatusOr<StepReport>>> {
    if (jobs.size() > 1) return OutOfMemoryError("no room for all");
    jobs_in_step.push_back(jobs.size());
    return RunJointStep(jobs, clock_);
  });
  const auto alone = RunTogether(turns);
  EXPECT_THAT(jobs_in_step, AllOf(SizeIs(4 + 5 + 6), Each(1)));
  for (int job = 0; job < kJobs; ++job) {
    EXPECT_EQ(alone[static_cast<size_t>(job)], RunToItsEnd(*NewTrainer(job, nullptr)));
  }
}

// How much memory is left beside others changes from attempt to attempt.
TEST_F(JointStepsTest, AStateResumesWithAnotherMicroBatchWhereNoBytesArePromised) {
  ComputeTurns turns(clock_);
  WT_ASSERT_OK_AND_ASSIGN(const std::string alone, NewTrainer(0, nullptr)->SaveState());
  WT_ASSERT_OK_AND_ASSIGN(const std::string beside, NewTrainer(0, &turns)->SaveState());
  WT_EXPECT_OK(NewTrainer(0, nullptr)->RestoreState(alone));
  EXPECT_THAT(NewTrainer(0, nullptr, 64)->RestoreState(alone),
              testing::StatusIs(absl::StatusCode::kFailedPrecondition,
                                ::testing::HasSubstr("micro-batches of 1024 tokens")));
  WT_EXPECT_OK(NewTrainer(0, &turns, 64)->RestoreState(alone));
  WT_EXPECT_OK(NewTrainer(0, &turns, 64)->RestoreState(beside));
  WT_EXPECT_OK(NewTrainer(0, nullptr, 64)->RestoreState(beside));
}

TEST_F(JointStepsTest, AnErrorOfOneJobIsItsOwn) {
  ComputeTurns turns([&](std::span<TrainingJob* const> jobs) {
    auto reports = RunJointStep(jobs, clock_);
    if (jobs.size() == kJobs) (*reports)[1] = absl::AbortedError("not finite");
    return reports;
  });
  std::vector<absl::Status> ends(kJobs);
  ThreadPool threads(kJobs, kJobs);
  {
    const ComputeTurns::Turn until_all_wait(turns);
    for (size_t job = 0; job < kJobs; ++job) {
      ASSERT_TRUE(threads.Schedule([&, job] {
        const ComputeTurns::Turn turn(turns);
        const auto trainer = NewTrainer(static_cast<int>(job), &turns);
        while (ends[job].ok() && !trainer->done()) ends[job] = trainer->Step().status();
      }));
      AwaitWaiting(turns, job + 1);  // so that the second of the step is job 1
    }
  }
  threads.Stop();
  EXPECT_THAT(ends[0], testing::IsOk());
  EXPECT_THAT(ends[1], testing::StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(ends[2], testing::IsOk());
}

}  // namespace
}  // namespace wardtune
