#include "worker/agent/reseal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/sha256.h"
#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::wardtune::testing::StatusIs;

// The server's side of a rotation: sealed bytes by name, on a real socket.
class SealedShelf final : private v1::WorkerService::Service {
 public:
  SealedShelf() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~SealedShelf() override { server_->Shutdown(); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  void Put(const std::string& name, const std::string& bytes) {
    absl::MutexLock lock(&mutex_);
    bytes_[name] = bytes;
  }
  std::string Get(const std::string& name) {
    absl::MutexLock lock(&mutex_);
    return bytes_[name];
  }
  int replaced() {
    absl::MutexLock lock(&mutex_);
    return replaced_;
  }
  // Called with the name before the next replacement is decided, once.
  void BeforeReplacing(std::function<void(const std::string&)> call) {
    absl::MutexLock lock(&mutex_);
    before_replacing_ = std::move(call);
  }
  void BreakNextFetch() {
    absl::MutexLock lock(&mutex_);
    break_fetch_ = true;
  }

 private:
  // One version a page.
  grpc::Status ListSealedVersions(grpc::ServerContext*,
                                  const v1::ListSealedVersionsRequest* request,
                                  v1::ListSealedVersionsResponse* response) override {
    absl::MutexLock lock(&mutex_);
    const auto found = bytes_.upper_bound(request->page_token());
    if (found == bytes_.end()) return grpc::Status::OK;
    v1::SealedVersion& version = *response->add_versions();
    version.set_name(found->first);
    version.set_sha256(Sha256Hex(found->second));
    version.set_size_bytes(static_cast<int64_t>(found->second.size()));
    if (std::next(found) != bytes_.end()) response->set_next_page_token(found->first);
    return grpc::Status::OK;
  }

  grpc::Status FetchSealedVersion(
      grpc::ServerContext*, const v1::FetchSealedVersionRequest* request,
      grpc::ServerWriter<v1::FetchSealedVersionResponse>* writer) override {
    v1::FetchSealedVersionResponse response;
    bool broken = false;
    {
      absl::MutexLock lock(&mutex_);
      const std::string& bytes = bytes_[request->name()];
      if (Sha256Hex(bytes) != request->sha256()) return {grpc::StatusCode::ABORTED, "changed"};
      broken = std::exchange(break_fetch_, false);
      response.set_chunk(bytes.substr(request->offset(), broken ? 10 : std::string::npos));
    }
    writer->Write(response);
    return broken ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken") : grpc::Status::OK;
  }

  grpc::Status ReplaceSealedVersion(grpc::ServerContext*,
                                    grpc::ServerReader<v1::ReplaceSealedVersionRequest>* reader,
                                    v1::ReplaceSealedVersionResponse* response) override {
    v1::ReplaceSealedVersionRequest request;
    reader->Read(&request);
    const v1::ReplaceSealedVersionRequest::Header header = request.header();
    std::string bytes;
    while (reader->Read(&request)) bytes += request.chunk();
    std::function<void(const std::string&)> call;
    {
      absl::MutexLock lock(&mutex_);
      call = std::exchange(before_replacing_, nullptr);
    }
    if (call) call(header.name());
    absl::MutexLock lock(&mutex_);
    std::string& stored = bytes_[header.name()];
    if (Sha256Hex(stored) != header.replaced_sha256())
      return {grpc::StatusCode::ABORTED, "changed"};
    if (Sha256Hex(bytes) != header.sha256()) return {grpc::StatusCode::DATA_LOSS, "other bytes"};
    stored = bytes;
    ++replaced_;
    response->mutable_version()->set_sha256(header.sha256());
    return grpc::Status::OK;
  }

  absl::Mutex mutex_;
  std::map<std::string, std::string> bytes_ ABSL_GUARDED_BY(mutex_);
  std::function<void(const std::string&)> before_replacing_ ABSL_GUARDED_BY(mutex_);
  bool break_fetch_ ABSL_GUARDED_BY(mutex_) = false;
  int replaced_ ABSL_GUARDED_BY(mutex_) = 0;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

class ResealTest : public ::testing::Test {
 protected:
  static SealingKey Filled(char fill) {
    return *SealingKey::Parse(std::string(2 * SealingKey::kBytes, fill));
  }
  static std::string Name(int version) {
    return absl::StrCat("securityVectors/shield/versions/", version);
  }
  static std::string Plain(int version) { return absl::StrCat("plain weights ", version); }

  void PutSealed(int version, char key) {
    shelf_.Put(Name(version), *Seal(Filled(key), Name(version), Plain(version)));
  }
  void ExpectUnder(int version, char key) {
    const auto opened = OpenSealed(Filled(key), Name(version), shelf_.Get(Name(version)));
    WT_ASSERT_OK(opened);
    EXPECT_EQ(*opened, Plain(version));
  }
  absl::StatusOr<ResealSummary> Run(const SealingKeys& keys) {
    WorkerClient client({.server = shelf_.address(), .api_key = "wt_test", .worker_id = "w"},
                        clock_);
    out_.str("");
    return ResealVersions(client, keys, clock_, [this] { return stopping_.load(); }, out_);
  }

  SystemClock clock_;
  SealedShelf shelf_;
  std::ostringstream out_;
  std::atomic<bool> stopping_ = false;  // also set by the server's thread
};

TEST_F(ResealTest, PutsEveryVersionUnderThePrimaryAndMayBeRepeated) {
  PutSealed(1, 'a');
  PutSealed(2, 'd');
  PutSealed(3, 'b');
  const std::string untouched = shelf_.Get(Name(2));
  shelf_.BreakNextFetch();
  const SealingKeys keys(Filled('d'), {Filled('a'), Filled('b')});
  WT_ASSERT_OK_AND_ASSIGN(const ResealSummary first, Run(keys));
  EXPECT_EQ(first.resealed, 2);
  EXPECT_EQ(first.left_alone, 1);
  EXPECT_TRUE(first.complete());
  for (const int version : {1, 2, 3}) ExpectUnder(version, 'd');
  EXPECT_EQ(shelf_.Get(Name(2)), untouched);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr(Filled('a').id()), HasSubstr("2 resealed, 1 left alone"),
                                Not(HasSubstr("plain"))));

  WT_ASSERT_OK_AND_ASSIGN(const ResealSummary second, Run(SealingKeys(Filled('d'))));
  EXPECT_EQ(second.left_alone, 3);
  EXPECT_TRUE(second.complete());
  EXPECT_EQ(shelf_.replaced(), 2);
}

TEST_F(ResealTest, OneThatNoKeyOpensFailsAndKeepsNoOtherBack) {
  PutSealed(1, 'e');
  PutSealed(2, 'a');
  PutSealed(3, 'd');
  std::string damaged = shelf_.Get(Name(3));
  damaged.back() ^= 1;  // Under the primary by its header, and yet it does not open.
  shelf_.Put(Name(3), damaged);
  WT_ASSERT_OK_AND_ASSIGN(const ResealSummary summary,
                          Run(SealingKeys(Filled('d'), {Filled('a')})));
  EXPECT_EQ(summary.resealed, 1);
  EXPECT_EQ(summary.failed, 2);
  EXPECT_FALSE(summary.complete());
  ExpectUnder(1, 'e');
  ExpectUnder(2, 'd');
  EXPECT_THAT(out_.str(), AllOf(HasSubstr(absl::StrCat(Name(1), " FAILED")),
                                HasSubstr(Filled('e').id()), HasSubstr("altered")));
}

TEST_F(ResealTest, LooksAgainAtWhatChangedMeanwhile) {
  PutSealed(1, 'a');
  shelf_.BeforeReplacing([this](const std::string&) {
    PutSealed(1, 'b');
    PutSealed(2, 'a');  // A training ended.
  });
  const SealingKeys keys(Filled('d'), {Filled('a'), Filled('b')});
  WT_ASSERT_OK_AND_ASSIGN(const ResealSummary summary, Run(keys));
  EXPECT_EQ(summary.resealed, 2);
  EXPECT_TRUE(summary.complete());
  for (const int version : {1, 2}) ExpectUnder(version, 'd');
}

TEST_F(ResealTest, StopsAndGoesOnWhenItIsStartedAgain) {
  PutSealed(1, 'a');
  PutSealed(2, 'a');
  shelf_.BeforeReplacing([this](const std::string&) { stopping_ = true; });
  const SealingKeys keys(Filled('d'), {Filled('a')});
  EXPECT_THAT(Run(keys), StatusIs(absl::StatusCode::kCancelled));
  ExpectUnder(1, 'd');
  ExpectUnder(2, 'a');
  stopping_ = false;
  WT_ASSERT_OK_AND_ASSIGN(const ResealSummary summary, Run(keys));
  EXPECT_EQ(summary.resealed, 1);
  EXPECT_TRUE(summary.complete());
}

}  // namespace
}  // namespace wardtune
