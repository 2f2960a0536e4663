// Data-parallel runs over real processes that talk by Gloo over the loopback device.
//
// Everything that computes runs in a child: LibTorch's threads do not survive fork(), so the test's
// own process starts none.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <functional>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/file_system.h"
#include "base/status_macros.h"
#include "base/status_matchers.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/training/full_parameter_trainer.h"
#include "worker/training/gloo_exchange.h"
#include "worker/training/row_order.h"
#include "worker/training/testing/token_rows.h"
#include "worker/training/trainer.h"

namespace wardtune {
namespace {

using ::absl::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

// What a process did: the loss of every step, then its adapter's digest or the error.
struct Outcome {
  std::vector<double> losses;
  std::string adapter;
  absl::Status status = absl::UnknownError("the process wrote nothing");
  double seconds = 0.0;  // from the last step that worked to the end
};

// A child and the pipe on which it writes its outcome, one "key value" a line.
class Process {
 public:
  using Line = std::function<void(std::string_view key, std::string_view value)>;

  explicit Process(const std::function<void(const Line&)>& work) {
    std::array<int, 2> ends;
    if (pipe(ends.data()) != 0) ADD_FAILURE() << "pipe";
    read_end_ = ends[0];
    pid_ = fork();
    if (pid_ != 0) {
      close(ends[1]);
      return;
    }
    work([&](std::string_view key, std::string_view value) {
      const std::string line = std::string(key) + " " + std::string(value) + "\n";
      if (write(ends[1], line.data(), line.size()) < 0) _exit(2);
    });
    _exit(0);
  }

  // Ends it where it stands.
  void Kill() {
    kill(pid_, SIGKILL);
    Join();
  }

  // Waits for the end.
  Outcome Join() {
    std::string text;
    std::array<char, 4096> buffer;
    for (ssize_t n; (n = read(read_end_, buffer.data(), buffer.size())) > 0;) {
      text.append(buffer.data(), static_cast<size_t>(n));
    }
    close(read_end_);
    waitpid(pid_, nullptr, 0);
    Outcome outcome;
    std::istringstream lines(text);
    for (std::string key, value; lines >> key && std::getline(lines >> std::ws, value);) {
      if (key == "loss") outcome.losses.push_back(std::stod(value));
      if (key == "adapter") outcome.adapter = value;
      if (key == "seconds") outcome.seconds = std::stod(value);
      if (key == "code") outcome.status = absl::Status(StatusCode(std::stoi(value)), "");
      if (key == "message") outcome.status = absl::Status(outcome.status.code(), value);
    }
    return outcome;
  }

 private:
  pid_t pid_ = -1;
  int read_end_ = -1;
};

std::vector<TrainingRow> Rows(int count, int32_t salt) { return testing::TokenRows(count, salt); }

class DataParallelTest : public ::testing::Test {
 protected:
  struct Plan {
    int rank = 0;
    int ranks = 1;  // 1: alone, without an exchange
    int rows = 11;
    int32_t salt = 0;
    bool kl_stream = false;
    int held_out = 0;          // rows
    bool full = false;         // full-parameter training
    int64_t leave_after = -1;  // steps
    bool hang = false;         // instead of leaving
    bool broken_pipe = false;  // as Gloo raises it when it writes to a rank that died
    int64_t restore_step = -1;
  };

  DataParallelTest()
      : folder_(testing::WriteTinyModel(TestName(), testing::TinyConfig("LlamaForCausalLM"))),
        store_(absl::StrCat("file:", ::testing::TempDir(), "/", TestName(), ".", getpid())) {}

  ~DataParallelTest() override {
    PosixFileSystem files;
    EXPECT_TRUE(files.RemoveTree(folder_).ok());
    unlink(store_.substr(store_.find(':') + 1).c_str());  // a run that broke off leaves it
  }

  static std::string TestName() {
    return ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  struct Run {
    TrainerOptions options;
    std::vector<TrainingStream> streams;
  };

  absl::StatusOr<Run> MakeRun(const Plan& plan, GradientExchange* exchange) {
    WT_ASSIGN_OR_RETURN(const DecoderModel model,
                        DecoderModel::Load(folder_, {.compute_type = ComputeType::kFloat32}));
    TrainerOptions options;
    options.lora = {.rank = 4, .alpha = 8.0};
    options.schedule = {.peak = 5e-3};
    options.weight_decay = 0.01;
    options.epochs = 3;
    options.seed = 3;
    options.micro_batch_tokens = 20;
    options.exchange = exchange;
    options.validation = {.rows = Rows(plan.held_out, 57), .every_steps = 2};
    std::vector<TrainingStream> streams;
    streams.push_back({.name = "customer",
                       .rows = Rows(plan.rows, plan.salt),
                       .model = model,
                       .rows_per_step = 4});
    if (plan.kl_stream) {
      streams.push_back({.name = "general",
                         .rows = Rows(5, 31),
                         .model = model,
                         .objective = Objective::kKlToBase,
                         .rows_per_step = 2,
                         .weight = 0.7});
    }
    return Run{std::move(options), std::move(streams)};
  }

  absl::StatusOr<std::unique_ptr<Trainer>> MakeTrainer(const Plan& plan,
                                                       GradientExchange* exchange) {
    WT_ASSIGN_OR_RETURN(Run run, MakeRun(plan, exchange));
    return Trainer::Create(run.options, std::move(run.streams), &clock_);
  }

  absl::Status TrainFully(const Plan& plan, GradientExchange* exchange, const Process::Line& line) {
    WT_ASSIGN_OR_RETURN(Run run, MakeRun(plan, exchange));
    WT_ASSIGN_OR_RETURN(auto trainer, FullParameterTrainer::Create(run.options, run.streams,
                                                                   run.streams[0].model, &clock_));
    while (!trainer->done()) {
      WT_ASSIGN_OR_RETURN(const StepReport report, trainer->Step());
      line("loss", absl::StrFormat("%.12g", report.loss));
    }
    line("adapter", trainer->working_model(0).WeightsDigest());
    return absl::OkStatus();
  }

  absl::Status Train(const Plan& plan, const Process::Line& line) {
    ConfigureComputeRuntime({.threads = 1});
    auto last = std::chrono::steady_clock::now();
    const auto report_time = [&] {
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - last;
      line("seconds", absl::StrCat(passed.count()));
    };
    std::unique_ptr<GradientExchange> exchange;
    if (plan.ranks > 1) {
      WT_ASSIGN_OR_RETURN(
          exchange,
          ConnectGloo(
              {.rank = plan.rank, .ranks = plan.ranks, .store = store_, .timeout = timeout_}));
    }
    if (plan.broken_pipe) raise(SIGPIPE);
    if (plan.full) return TrainFully(plan, exchange.get(), line);
    WT_ASSIGN_OR_RETURN(auto trainer, MakeTrainer(plan, exchange.get()));
    if (plan.restore_step >= 0) {
      WT_ASSIGN_OR_RETURN(auto earlier, MakeTrainer({.rows = plan.rows}, nullptr));
      while (earlier->step() < plan.restore_step) WT_RETURN_IF_ERROR(earlier->Step().status());
      WT_ASSIGN_OR_RETURN(const std::string state, earlier->SaveState());
      WT_RETURN_IF_ERROR(trainer->RestoreState(state));
    }
    while (!trainer->done()) {
      if (trainer->step() == plan.leave_after) {
        if (plan.hang) pause();
        _exit(0);
      }
      const auto report = trainer->Step();
      if (!report.ok()) {
        report_time();
        line("adapter", AdapterDigest(trainer->Adapter()));
        return report.status();
      }
      last = std::chrono::steady_clock::now();
      line("loss", absl::StrFormat("%.12g", report->loss));
    }
    line("adapter", AdapterDigest(trainer->Adapter()));
    return absl::OkStatus();
  }

  Process Start(const Plan& plan) {
    return Process([&](const Process::Line& line) {
      const absl::Status status = Train(plan, line);
      line("code", absl::StrCat(status.raw_code()));
      line("message", absl::StrReplaceAll(status.message(), {{"\n", " "}}));
    });
  }

  std::vector<Outcome> RunRanks(const std::vector<Plan>& plans) {
    std::vector<Process> processes;
    for (const Plan& plan : plans) processes.push_back(Start(plan));
    std::vector<Outcome> outcomes;
    for (Process& process : processes) outcomes.push_back(process.Join());
    return outcomes;
  }

  // The plan alone against the plan over `ranks` processes.
  void ExpectLikeOneProcess(Plan plan, int ranks) {
    const Outcome alone = Start(plan).Join();
    WT_ASSERT_OK(alone.status);
    std::vector<Plan> plans;
    plan.ranks = ranks;
    for (plan.rank = 0; plan.rank < ranks; ++plan.rank) plans.push_back(plan);
    const std::vector<Outcome> together = RunRanks(plans);
    for (const Outcome& outcome : together) {
      WT_ASSERT_OK(outcome.status);
      EXPECT_EQ(outcome.adapter, together[0].adapter);
      ASSERT_EQ(outcome.losses.size(), alone.losses.size());
      for (size_t i = 0; i < alone.losses.size(); ++i) {
        EXPECT_NEAR(outcome.losses[i], alone.losses[i], 1e-5) << "step " << i + 1;
        EXPECT_EQ(outcome.losses[i], together[0].losses[i]) << "step " << i + 1;
      }
    }
    EXPECT_LT(alone.losses.back(), alone.losses.front());
  }

  const std::string folder_;
  std::string store_;
  absl::Duration timeout_ = absl::Seconds(60);
  FakeClock clock_;
};

TEST_F(DataParallelTest, TwoProcessesTrainLikeOne) { ExpectLikeOneProcess({}, 2); }

TEST_F(DataParallelTest, StreamsWithATeacherToo) { ExpectLikeOneProcess({.kl_stream = true}, 2); }

TEST_F(DataParallelTest, WithHeldOutRowsToo) { ExpectLikeOneProcess({.held_out = 5}, 2); }

TEST_F(DataParallelTest, FullParameterTrainingToo) { ExpectLikeOneProcess({.full = true}, 2); }

// The last step of an epoch has one row for three ranks.
TEST_F(DataParallelTest, ARankWithoutRowsTakesPart) { ExpectLikeOneProcess({.rows = 9}, 3); }

TEST_F(DataParallelTest, RanksMeetOverTcp) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), 0);
  close(listener);  // its port was free a moment ago
  store_ = absl::StrCat("tcp:127.0.0.1:", ntohs(address.sin_port));
  ExpectLikeOneProcess({}, 2);
}

TEST_F(DataParallelTest, ARankThatDiesEndsTheOthersRun) {
  timeout_ = absl::Seconds(20);
  const auto outcomes =
      RunRanks({{.rank = 0, .ranks = 2}, {.rank = 1, .ranks = 2, .leave_after = 2}});
  EXPECT_THAT(outcomes[0].status, StatusIs(StatusCode::kUnavailable, HasSubstr("rank 0 of 2")));
  EXPECT_EQ(outcomes[0].losses.size(), 2u);
  EXPECT_LT(outcomes[0].seconds, 20.0);
}

// One run in fifty of the test above ended by SIGPIPE, without a status.
TEST_F(DataParallelTest, ABrokenPipeEndsNoProcess) {
  const auto outcomes =
      RunRanks({{.rank = 0, .ranks = 2, .broken_pipe = true}, {.rank = 1, .ranks = 2}});
  WT_EXPECT_OK(outcomes[0].status);
  EXPECT_FALSE(outcomes[0].adapter.empty());
}

TEST_F(DataParallelTest, ARankThatHangsEndsTheOthersRunAfterTheTimeout) {
  timeout_ = absl::Seconds(3);
  Process waiting = Start({.rank = 0, .ranks = 2});
  Process hanging = Start({.rank = 1, .ranks = 2, .leave_after = 1, .hang = true});
  const Outcome outcome = waiting.Join();
  hanging.Kill();
  EXPECT_THAT(outcome.status,
              StatusIs(StatusCode::kUnavailable, HasSubstr("did not answer within 3s")));
  EXPECT_GT(outcome.seconds, 2.0);
  EXPECT_LT(outcome.seconds, 15.0);
}

TEST_F(DataParallelTest, ARankThatNeverComes) {
  timeout_ = absl::Seconds(2);
  const Outcome outcome = Start({.rank = 0, .ranks = 2}).Join();
  EXPECT_THAT(outcome.status, StatusIs(StatusCode::kUnavailable, HasSubstr("rank 0 of 2")));
}

TEST_F(DataParallelTest, RanksWithOtherRowsAreRefused) {
  const auto outcomes = RunRanks({{.rank = 0, .ranks = 2}, {.rank = 1, .ranks = 2, .salt = 5}});
  for (const Outcome& outcome : outcomes) {
    EXPECT_THAT(outcome.status, StatusIs(StatusCode::kFailedPrecondition,
                                         HasSubstr("the same options, rows and weights")));
  }
}

// Each measured rows of its own and stopped, or delivered, at a step of its own.
TEST_F(DataParallelTest, RanksWithOtherHeldOutRowsAreRefused) {
  const auto outcomes =
      RunRanks({{.rank = 0, .ranks = 2, .held_out = 5}, {.rank = 1, .ranks = 2, .held_out = 4}});
  for (const Outcome& outcome : outcomes) {
    EXPECT_THAT(outcome.status, StatusIs(StatusCode::kFailedPrecondition));
  }
}

TEST_F(DataParallelTest, RanksAtOtherStepsAreRefused) {
  const auto outcomes =
      RunRanks({{.rank = 0, .ranks = 2}, {.rank = 1, .ranks = 2, .restore_step = 1}});
  for (const Outcome& outcome : outcomes) {
    EXPECT_THAT(outcome.status,
                StatusIs(StatusCode::kFailedPrecondition, HasSubstr("the same step")));
  }
}

TEST(GlooExchangeTest, OptionsAreChecked) {
  const GlooExchangeOptions good = {.rank = 0, .ranks = 2, .store = "file:/nowhere/store"};
  const auto refuses = [&](auto change, const char* field) {
    GlooExchangeOptions options = good;
    change(options);
    EXPECT_THAT(ConnectGloo(options).status(),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(field)));
  };
  refuses([](auto& o) { o.ranks = 0; }, "ranks");
  refuses([](auto& o) { o.rank = 2; }, "rank");
  refuses([](auto& o) { o.rank = -1; }, "rank");
  refuses([](auto& o) { o.timeout = absl::ZeroDuration(); }, "timeout");
  for (const char* store : {"", "file:", "tcp:", "tcp:80", "tcp:host", "tcp:host:0", "tcp::80",
                            "tcp:host:99999", "/tmp/store"}) {
    refuses([&](auto& o) { o.store = store; }, "store");
  }
}

TEST(DealRowsTest, GivesEachRankAboutTheSameTokens) {
  EXPECT_THAT(DealRows({5, 9, 4, 8, 3}, 2), ElementsAre(1, 0, 0, 1, 0));
  EXPECT_THAT(DealRows({7}, 3), ElementsAre(0));
  EXPECT_THAT(DealRows({2, 2, 2, 2}, 1), ElementsAre(0, 0, 0, 0));
}

}  // namespace
}  // namespace wardtune
