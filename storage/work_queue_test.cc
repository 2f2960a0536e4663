#include <set>
#include <string>
#include <vector>

#include "storage/error_reason.h"
#include "storage/store_fixture.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::wardtune::testing::StatusIs;

MATCHER_P(HasId, id, "") { return arg.id == id; }

class WorkQueueTest : public testing::StoreFixture {
 protected:
  WorkQueueTest() {
    AddTenant("acme");
    ActivateVector();
  }

  void ExpectLeaseLost(const absl::Status& status) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
    EXPECT_EQ(ReasonOf(status), kReasonLeaseLost);
  }

  // Every call that a worker can make with this attempt is refused and changes nothing.
  void ExpectFenced(const std::string& tenant, const std::string& job_id, int32_t attempt) {
    const std::string etag = store_->jobs().GetJob(tenant, job_id).value().etag;
    WorkQueue& work = store_->work();
    ExpectLeaseLost(work.GetLease(job_id, attempt).status());
    ExpectLeaseLost(work.Heartbeat(job_id, attempt, kTtl, {3, "stale", ""}).status());
    for (const ArtifactKind kind : {ArtifactKind::kAdapter, ArtifactKind::kCheckpoint}) {
      ExpectLeaseLost(
          work.RecordArtifact(job_id, attempt, kind, {Sha256Hex("stale"), 1}, 99).status());
    }
    ExpectLeaseLost(work.Complete(job_id, attempt, ResultWith("stale")).status());
    ExpectLeaseLost(work.Fail(job_id, attempt, {"STALE", "", false, false}).status());
    EXPECT_EQ(store_->jobs().GetJob(tenant, job_id).value().etag, etag);
  }
};

TEST_F(WorkQueueTest, TheOldestWorkForTheModelIsLeasedFirst) {
  const std::string first = AddJob("acme");
  const std::string second = AddJob("acme");
  EXPECT_EQ(store_->jobs().GetJob("acme", second).value().queue_position, 2);
  EXPECT_EQ(store_->work().LeaseNext("w1", {"other"}, kTtl).value(), std::nullopt);
  EXPECT_EQ(Lease().job.id, first);
  EXPECT_EQ(store_->jobs().GetJob("acme", second).value().queue_position, 1);
  EXPECT_EQ(Lease().job.id, second);
  EXPECT_EQ(store_->work().LeaseNext("w1", {kModel}, kTtl).value(), std::nullopt);
}

TEST_F(WorkQueueTest, TheLeaseNamesEveryInput) {
  AddJob("acme");
  const LeaseRecord lease = Lease();
  std::vector<InputKind> kinds;
  for (const InputRecord& input : lease.inputs) kinds.push_back(input.kind);
  EXPECT_THAT(kinds, ElementsAre(InputKind::kDataset, InputKind::kSecurityVector,
                                 InputKind::kSuitePrompts, InputKind::kSuiteRules));
  EXPECT_EQ(lease.inputs[1].blob.sha256, Sha256Hex("sealed"));
  EXPECT_EQ(lease.vector_plain_sha256, Sha256Hex("plainsealed"));
  EXPECT_EQ(lease.job.attempt, 1);
}

TEST_F(WorkQueueTest, AHeartbeatExtendsTheLeaseAndStoresProgress) {
  const std::string job = AddJob("acme");
  const LeaseRecord lease = Lease();
  clock_.Advance(kTtl - absl::Seconds(1));
  WT_ASSERT_OK(store_->work().Heartbeat(job, 1, kTtl, {3, "half", "scores"}));
  clock_.Advance(kTtl - absl::Seconds(1));
  EXPECT_THAT(store_->work().ExpireLeases().value(), IsEmpty());
  const JobRecord record = store_->jobs().GetJob("acme", job).value();
  EXPECT_EQ(record.phase, 3);
  EXPECT_EQ(record.progress, "half");
  EXPECT_EQ(record.safety_before, "scores");
}

TEST_F(WorkQueueTest, AnExpiredLeaseIsRequeuedAndItsAttemptFenced) {
  const std::string job = AddJob("acme");
  Lease("w1");
  WT_ASSERT_OK(
      store_->work().RecordArtifact(job, 1, ArtifactKind::kCheckpoint, {Sha256Hex("ckpt"), 5}, 40));
  clock_.Advance(kTtl);
  EXPECT_THAT(store_->work().ExpireLeases().value(), ElementsAre(HasId(job)));
  EXPECT_EQ(StateOf("acme", job), JobState::kQueued);
  ExpectFenced("acme", job, 1);

  const LeaseRecord second = Lease("w2");
  EXPECT_EQ(second.job.attempt, 2);
  EXPECT_EQ(second.inputs.back().kind, InputKind::kCheckpoint);
  EXPECT_EQ(second.inputs.back().blob.sha256, Sha256Hex("ckpt"));
  ExpectFenced("acme", job, 1);
  WT_EXPECT_OK(Finish(second, "adapter"));
  EXPECT_EQ(StateOf("acme", job), JobState::kSucceeded);
}

TEST_F(WorkQueueTest, WallTimeJumpsExpireNothing) {
  AddJob("acme");
  Lease();
  clock_.JumpWallTime(absl::Hours(1));
  EXPECT_THAT(store_->work().ExpireLeases().value(), IsEmpty());
}

TEST_F(WorkQueueTest, ALeaseSurvivesARestartOfTheServerButNotOfTheMachine) {
  const std::string job = AddJob("acme");
  Lease();
  Open();
  EXPECT_THAT(store_->work().ExpireLeases().value(), IsEmpty());
  WT_EXPECT_OK(store_->work().GetLease(job, 1));
  options_.boot_id = "boot-2";
  Open();
  EXPECT_THAT(store_->work().ExpireLeases().value(), ElementsAre(HasId(job)));
}

TEST_F(WorkQueueTest, APoisonJobFailsAfterItsLastAttempt) {
  const std::string job = AddJob("acme");
  for (int attempt = 1; attempt <= options_.max_attempts; ++attempt) {
    EXPECT_EQ(Lease().job.attempt, attempt);
    clock_.Advance(kTtl);
    WT_ASSERT_OK(store_->work().ExpireLeases());
  }
  const JobRecord record = store_->jobs().GetJob("acme", job).value();
  EXPECT_EQ(record.state, JobState::kFailed);
  EXPECT_EQ(record.error_code, kMaxAttemptsExceeded);
  EXPECT_THAT(record.error_message, HasSubstr("LEASE_EXPIRED"));
}

TEST_F(WorkQueueTest, ARetryableFailureQueuesAgainAndAFinalOneEnds) {
  const std::string job = AddJob("acme");
  Lease();
  EXPECT_EQ(store_->work().Fail(job, 1, {"DISK_FULL", "m", true, false}).value().state,
            JobState::kQueued);
  Lease();
  const JobRecord ended =
      store_->work().Fail(job, 2, {"LOSS_NOT_FINITE", "m", false, false}).value();
  EXPECT_EQ(ended.state, JobState::kFailed);
  EXPECT_EQ(ended.error_code, "LOSS_NOT_FINITE");
  ExpectFenced("acme", job, 2);
}

TEST_F(WorkQueueTest, CompletingMakesTheAdapterAndMayBeRepeated) {
  const std::string job = AddJob("acme");
  const LeaseRecord lease = Lease();
  const JobRecord ended = Finish(lease, "adapter").value();
  EXPECT_EQ(ended.state, JobState::kSucceeded);
  const AdapterRecord adapter = store_->jobs().GetAdapter("acme", ended.adapter_id).value();
  EXPECT_EQ(adapter.blob.sha256, Sha256Hex("adapter"));
  EXPECT_EQ(adapter.proof, "proof");
  EXPECT_EQ(store_->work().Complete(job, 1, ResultWith("adapter")).value().job.adapter_id,
            ended.adapter_id);
  EXPECT_TRUE(store_->work().Complete(job, 1, ResultWith("adapter")).value().repeated);
  ExpectLeaseLost(store_->work().Complete(job, 1, ResultWith("another")).status());
  EXPECT_TRUE(store_->work().EndedWith("acme", job, 1, Sha256Hex("adapter")).value());
  EXPECT_FALSE(store_->work().EndedWith("acme", job, 1, Sha256Hex("another")).value());
  EXPECT_FALSE(store_->work().EndedWith("acme", job, 2, Sha256Hex("adapter")).value());
  EXPECT_FALSE(store_->work().EndedWith("other", job, 1, Sha256Hex("adapter")).value());
  EXPECT_FALSE(store_->work().EndedWith("acme", "nonesuch", 1, Sha256Hex("adapter")).value());
}

TEST_F(WorkQueueTest, AnArtefactThatThisAttemptDidNotUploadIsRefused) {
  const std::string job = AddJob("acme");
  Lease();
  WT_ASSERT_OK(
      store_->work().RecordArtifact(job, 1, ArtifactKind::kAdapter, {Sha256Hex("a"), 1}, 0));
  clock_.Advance(kTtl);
  WT_ASSERT_OK(store_->work().ExpireLeases());
  Lease();
  EXPECT_THAT(store_->work().Complete(job, 2, ResultWith("a")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("attempt 2")));
  EXPECT_EQ(StateOf("acme", job), JobState::kRunning);
}

TEST_F(WorkQueueTest, AnOlderCheckpointDoesNotReplaceANewerOne) {
  const std::string job = AddJob("acme");
  Lease();
  WT_ASSERT_OK(
      store_->work().RecordArtifact(job, 1, ArtifactKind::kCheckpoint, {Sha256Hex("late"), 1}, 50));
  EXPECT_THAT(
      store_->work().RecordArtifact(job, 1, ArtifactKind::kCheckpoint, {Sha256Hex("early"), 1}, 40),
      StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(store_->jobs().GetJob("acme", job).value().checkpoint.sha256, Sha256Hex("late"));
}

TEST_F(WorkQueueTest, NamesTheCheckpointThatWasReplaced) {
  const std::string job = AddJob("acme");
  Lease();
  const auto record = [&](const std::string& bytes, int64_t step) {
    return store_->work()
        .RecordArtifact(job, 1, ArtifactKind::kCheckpoint, {Sha256Hex(bytes), 1}, step)
        .value()
        .sha256;
  };
  EXPECT_EQ(record("first", 50), "");
  EXPECT_EQ(record("second", 100), Sha256Hex("first"));
  EXPECT_EQ(record("second", 100), "") << "it is the one in use";
}

// An attempt that cannot use the checkpoint it finds starts at step 0 and stores its own.
TEST_F(WorkQueueTest, AnotherAttemptMayStoreACheckpointOfFewerSteps) {
  const std::string job = AddJob("acme");
  Lease();
  WT_ASSERT_OK(
      store_->work().RecordArtifact(job, 1, ArtifactKind::kCheckpoint, {Sha256Hex("bad"), 1}, 50));
  clock_.Advance(kTtl);
  WT_ASSERT_OK(store_->work().ExpireLeases());
  Lease();
  WT_ASSERT_OK(
      store_->work().RecordArtifact(job, 2, ArtifactKind::kCheckpoint, {Sha256Hex("new"), 1}, 10));
  EXPECT_EQ(store_->jobs().GetJob("acme", job).value().checkpoint.sha256, Sha256Hex("new"));
}

TEST_F(WorkQueueTest, OnlyAttemptsThatComeNoFurtherAreCounted) {
  const std::string job = AddJob("acme");
  int32_t attempt = 0;
  const auto end_attempt = [&](int64_t step) {
    Lease();
    ++attempt;
    if (step > 0) {
      WT_ASSERT_OK(store_->work().RecordArtifact(job, attempt, ArtifactKind::kCheckpoint,
                                                 {Sha256Hex("ckpt"), 1}, step));
    }
    WT_ASSERT_OK(store_->work().Fail(job, attempt, {"DISK_FULL", "m", true, false}));
  };
  for (int64_t step = 1; step <= 5; ++step) end_attempt(step);
  EXPECT_EQ(StateOf("acme", job), JobState::kQueued);
  // Less than was reached before is no progress.
  end_attempt(4);
  EXPECT_EQ(StateOf("acme", job), JobState::kQueued);
  end_attempt(0);
  EXPECT_EQ(StateOf("acme", job), JobState::kFailed);
}

TEST_F(WorkQueueTest, AWorkerThatIsToldToStopCostsNoAttempt) {
  const std::string job = AddJob("acme");
  for (int32_t attempt = 1; attempt <= 5; ++attempt) {
    Lease();
    WT_ASSERT_OK(
        store_->work().Fail(job, attempt, {std::string(kWorkerStopping), "m", true, false}));
  }
  EXPECT_EQ(StateOf("acme", job), JobState::kQueued);
}

TEST_F(WorkQueueTest, AServerThatWasAwayLetsLeasesLast) {
  const std::string job = AddJob("acme");
  Lease();
  clock_.Advance(kTtl);
  Open();
  WT_ASSERT_OK(store_->work().ExtendLeases(kTtl));
  EXPECT_THAT(store_->work().ExpireLeases().value(), IsEmpty());
  clock_.Advance(kTtl);
  EXPECT_THAT(store_->work().ExpireLeases().value(), ElementsAre(HasId(job)));
}

TEST_F(WorkQueueTest, CancellingAQueuedJobEndsItAtOnce) {
  const std::string job = AddJob("acme");
  WT_ASSERT_OK(Cancel("acme", job));
  EXPECT_EQ(StateOf("acme", job), JobState::kCancelled);
  EXPECT_THAT(Cancel("acme", job),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("CANCELLED")));
  EXPECT_EQ(store_->work().LeaseNext("w1", {kModel}, kTtl).value(), std::nullopt);
}

TEST_F(WorkQueueTest, ACancelReachesTheWorkerWithItsHeartbeat) {
  const std::string job = AddJob("acme");
  Lease();
  EXPECT_THAT(store_->work().Fail(job, 1, {"", "", false, true}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("RUNNING")));
  WT_ASSERT_OK(Cancel("acme", job));
  EXPECT_EQ(store_->work().Heartbeat(job, 1, kTtl, {3, "", ""}).value().state,
            JobState::kCancelling);
  EXPECT_EQ(store_->work().Fail(job, 1, {"", "", false, true}).value().state, JobState::kCancelled);
}

TEST_F(WorkQueueTest, ACancelThatWasAnsweredBeatsALaterCompletion) {
  const std::string job = AddJob("acme");
  const LeaseRecord lease = Lease();
  WT_ASSERT_OK(Cancel("acme", job));
  EXPECT_EQ(Finish(lease, "adapter").value().state, JobState::kCancelled);
  EXPECT_THAT(store_->jobs().ListAdapters("acme", {}).value().items, IsEmpty());
}

TEST_F(WorkQueueTest, ACompletionBeatsALaterCancel) {
  const std::string job = AddJob("acme");
  WT_ASSERT_OK(Finish(Lease(), "adapter"));
  EXPECT_THAT(Cancel("acme", job),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("SUCCEEDED")));
}

TEST_F(WorkQueueTest, EventsRiseAndAreTakenUpWhereTheReaderStopped) {
  const std::string job = AddJob("acme");
  WT_ASSERT_OK(Finish(Lease(), "adapter"));
  const auto all = store_->jobs().ListJobEvents("acme", job, 0, 100).value();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_LT(all[0].sequence, all[1].sequence);
  EXPECT_EQ(all[1].state, JobState::kRunning);
  const auto rest = store_->jobs().ListJobEvents("acme", job, all[1].sequence, 100).value();
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0].state, JobState::kSucceeded);
}

TEST_F(WorkQueueTest, AFailedTrainingFailsItsVector) {
  const NewSecurityVector request{
      "shield", kModel,  AddReadyDataset(kProviderTenant), AddReadyDataset(kProviderTenant),
      "suite",  "recipe"};
  WT_ASSERT_OK(store_->security_vectors().TrainSecurityVector(
      request, Once("Train"), [](const SecurityVectorRecord& r) { return r.job_id; }));
  const LeaseRecord lease = Lease();
  EXPECT_EQ(lease.job.kind, JobKind::kSecurityVector);
  EXPECT_EQ(lease.inputs[1].kind, InputKind::kGeneralDataset);
  WT_ASSERT_OK(store_->work().Fail(lease.job.id, 1, {"LOSS_NOT_FINITE", "why", false, false}));
  const auto vector = store_->security_vectors().GetSecurityVector("shield", 2).value();
  EXPECT_EQ(vector.state, SecurityVectorState::kFailed);
  EXPECT_EQ(vector.error_message, "why");
  EXPECT_THAT(Activate(2), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("FAILED")));
}

TEST_F(WorkQueueTest, StatsCountJobsAndWorkers) {
  AddJob("acme");
  AddJob("acme");
  Lease("w1");
  clock_.Advance(absl::Seconds(5));
  const QueueStats stats = store_->work().GetQueueStats().value();
  EXPECT_EQ(stats.jobs.at(JobState::kQueued), 1);
  EXPECT_EQ(stats.jobs.at(JobState::kRunning), 1);
  EXPECT_EQ(stats.oldest_queued, absl::Seconds(5));
  EXPECT_EQ(stats.alive_workers, 1);
  clock_.Advance(options_.worker_alive_for);
  EXPECT_EQ(store_->work().GetQueueStats().value().alive_workers, 0);
}

}  // namespace
}  // namespace wardtune
