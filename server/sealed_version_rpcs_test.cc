// Rotation of the vectors' key, as the server sees it: sealed bytes go out and come in under
// another key, and nothing else changes.
#include <string>

#include "base/sha256.h"
#include "formats/sealed_header.h"
#include "server/testing/server_fixture.h"
#include "storage/blob_store.h"

namespace wardtune {
namespace {

using testing::FailsWith;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::Succeeds;

constexpr char kRotated[] = "securityVectors/shield/versions/1";
constexpr absl::Duration kGrace = absl::Seconds(1);
constexpr auto kSealedInput = v1::WorkInput::KIND_SECURITY_VECTOR;

// Looks sealed to whoever has no key.
std::string LooksSealed(char key, const std::string& context, const std::string& body) {
  return SealedHeader{std::string(kSealedKeyIdBytes, key), std::string(kSealedNonceBytes, 'n'),
                      context}
             .Serialize() +
         body + std::string(kSealedTagBytes, 't');
}

class SealedVersionRpcsTest : public testing::ServerFixture {
 protected:
  SealedVersionRpcsTest() {
    StartServer();
    AddTenants();
    ActivateVector(before_);
  }

  std::vector<v1::SealedVersion> List() {
    v1::ListSealedVersionsResponse response;
    EXPECT_THAT(Call(&v1::WorkerService::Stub::ListSealedVersions, worker_key_,
                     v1::ListSealedVersionsRequest(), response),
                Succeeds());
    return {response.versions().begin(), response.versions().end()};
  }

  Outcome Fetch(const std::string& name, const std::string& sha256, int64_t offset,
                std::string& bytes) {
    v1::FetchSealedVersionRequest request;
    request.set_name(name);
    request.set_sha256(sha256);
    request.set_offset(offset);
    testing::CallContext context(worker_key_);
    const auto stub = StubOf<v1::WorkerService>();
    const auto reader = stub->FetchSealedVersion(&context, request);
    v1::FetchSealedVersionResponse response;
    while (reader->Read(&response)) bytes += response.chunk();
    return testing::OutcomeOf(reader->Finish());
  }

  Outcome Replace(const v1::ReplaceSealedVersionRequest::Header& header, const std::string& bytes,
                  v1::ReplaceSealedVersionResponse* response = nullptr) {
    v1::ReplaceSealedVersionResponse ignored;
    testing::CallContext context(worker_key_);
    const auto stub = StubOf<v1::WorkerService>();
    const auto writer =
        stub->ReplaceSealedVersion(&context, response == nullptr ? &ignored : response);
    v1::ReplaceSealedVersionRequest request;
    *request.mutable_header() = header;
    bool open = writer->Write(request);
    for (size_t at = 0; open && at < bytes.size(); at += 1 << 20) {
      request.set_chunk(bytes.substr(at, 1 << 20));
      open = writer->Write(request);
    }
    if (open) writer->WritesDone();
    return testing::OutcomeOf(writer->Finish());
  }

  v1::ReplaceSealedVersionRequest::Header HeaderFor(const std::string& bytes) {
    v1::ReplaceSealedVersionRequest::Header header;
    header.set_name(kRotated);
    header.set_replaced_sha256(Sha256Hex(before_));
    header.set_sha256(Sha256Hex(bytes));
    header.set_size_bytes(static_cast<int64_t>(bytes.size()));
    return header;
  }
  Outcome ReplaceBy(const std::string& bytes) { return Replace(HeaderFor(bytes), bytes); }

  v1::SecurityVectorVersion Version() {
    v1::GetSecurityVectorVersionRequest request;
    request.set_name(kRotated);
    v1::GetSecurityVectorVersionResponse response;
    EXPECT_THAT(Call(&v1::SecurityVectorService::Stub::GetSecurityVectorVersion, provider_key_,
                     request, response),
                Succeeds());
    return response.version();
  }

  int Reseals(v1::AuditEvent* last = nullptr) {
    v1::ListAuditEventsResponse response;
    EXPECT_THAT(Call(&v1::AdminService::Stub::ListAuditEvents, provider_key_,
                     v1::ListAuditEventsRequest(), response),
                Succeeds());
    int count = 0;
    for (const v1::AuditEvent& event : response.events()) {
      if (event.action() != "reseal_security_vector") continue;
      if (count++ == 0 && last != nullptr) *last = event;
    }
    return count;
  }

  Outcome FetchVector(const v1::Lease& lease, std::string& bytes) {
    v1::FetchInputRequest request;
    request.set_work(lease.work());
    request.set_attempt(lease.attempt());
    request.set_kind(kSealedInput);
    testing::CallContext context(worker_key_);
    const auto stub = StubOf<v1::WorkerService>();
    const auto reader = stub->FetchInput(&context, request);
    v1::FetchInputResponse response;
    while (reader->Read(&response)) bytes += response.chunk();
    return testing::OutcomeOf(reader->Finish());
  }

  static std::string VectorDigest(const v1::Lease& lease) {
    for (const v1::WorkInput& input : lease.inputs()) {
      if (input.kind() == kSealedInput) return input.sha256();
    }
    return "";
  }

  bool Stored(const std::string& bytes) {
    const std::string sha256 = Sha256Hex(bytes);
    return files_.Exists(options_.data_dir + "/blobs/blobs/" + sha256.substr(0, 2) + "/" + sha256);
  }
  // As the collector does, past the grace.
  void CollectBlobs() {
    for (int round = 0; round < 2; ++round) {
      const auto live = server_->store().maintenance().ReferencedBlobs();
      WT_ASSERT_OK(live);
      WT_ASSERT_OK(server_->blobs().CollectGarbage(*live, {}, kGrace));
      clock_.Advance(2 * kGrace);
    }
  }

  const std::string before_ = LooksSealed('a', kRotated, std::string(3 << 20, 'x'));
  const std::string after_ = LooksSealed('b', kRotated, std::string(3 << 20, 'y'));
};

TEST_F(SealedVersionRpcsTest, SealedBytesGoOutAndComeInUnderAnotherKey) {
  const auto listed = List();
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0].name(), kRotated);
  EXPECT_EQ(listed[0].sha256(), Sha256Hex(before_));
  EXPECT_EQ(listed[0].size_bytes(), static_cast<int64_t>(before_.size()));
  for (const int64_t offset : {0, 1, (2 << 20) + 5}) {
    std::string bytes;
    EXPECT_THAT(Fetch(kRotated, listed[0].sha256(), offset, bytes), Succeeds());
    EXPECT_EQ(Sha256Hex(bytes), Sha256Hex(before_.substr(static_cast<size_t>(offset))));
  }
  const std::string version = Version().SerializeAsString();
  EXPECT_EQ(Reseals(), 0);

  v1::ReplaceSealedVersionResponse response;
  ASSERT_THAT(Replace(HeaderFor(after_), after_, &response), Succeeds());
  EXPECT_EQ(response.version().sha256(), Sha256Hex(after_));
  EXPECT_EQ(List()[0].sha256(), Sha256Hex(after_));
  EXPECT_EQ(Version().SerializeAsString(), version);
  std::string bytes;
  EXPECT_THAT(Fetch(kRotated, Sha256Hex(after_), 0, bytes), Succeeds());
  EXPECT_EQ(Sha256Hex(bytes), Sha256Hex(after_));
  v1::AuditEvent event;
  EXPECT_EQ(Reseals(&event), 1);
  EXPECT_EQ(event.resource(), kRotated);
  EXPECT_NE(event.key_id(), "");
  EXPECT_EQ(event.reason(), "from key " + SealedHeader{std::string(16, 'a')}.KeyIdHex() + " to " +
                                SealedHeader{std::string(16, 'b')}.KeyIdHex());

  // Its answer was lost, and the call is made again.
  EXPECT_THAT(Replace(HeaderFor(after_), after_, &response), Succeeds());
  EXPECT_EQ(response.version().sha256(), Sha256Hex(after_));
  EXPECT_EQ(Reseals(), 1);
}

TEST_F(SealedVersionRpcsTest, WhatHasChangedIsAborted) {
  const std::string other = LooksSealed('c', kRotated, "z");
  ASSERT_THAT(ReplaceBy(after_), Succeeds());
  const auto changed = FailsWith(grpc::StatusCode::ABORTED, "SEALED_VERSION_CHANGED");
  EXPECT_THAT(ReplaceBy(other), changed);
  std::string none;
  EXPECT_THAT(Fetch(kRotated, Sha256Hex(before_), 0, none), changed);
  EXPECT_EQ(none, "");
  EXPECT_EQ(List()[0].sha256(), Sha256Hex(after_));
  EXPECT_EQ(Reseals(), 1);
}

TEST_F(SealedVersionRpcsTest, OnlyTheSameVersionUnderAnotherKeyIsTaken) {
  const auto invalid = FailsWith(grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(ReplaceBy(LooksSealed('a', kRotated, "same key")), invalid);
  EXPECT_THAT(ReplaceBy(LooksSealed('b', "securityVectors/shield/versions/2", "x")), invalid);
  EXPECT_THAT(ReplaceBy("plain weights"), invalid);
  EXPECT_THAT(ReplaceBy(after_.substr(0, SealedHeader{"", "", kRotated}.size_bytes() + 15)),
              invalid);  // It ends within its tag.

  const auto changed_header = [&](auto change) {
    v1::ReplaceSealedVersionRequest::Header header = HeaderFor(after_);
    change(header);
    return Replace(header, after_);
  };
  using Header = v1::ReplaceSealedVersionRequest::Header&;
  EXPECT_THAT(changed_header([](Header h) { h.set_sha256(std::string(64, '0')); }),
              FailsWith(grpc::StatusCode::DATA_LOSS, "SHA256_MISMATCH"));
  EXPECT_THAT(changed_header([](Header h) { h.set_sha256("short"); }), invalid);
  EXPECT_THAT(changed_header([](Header h) { h.set_replaced_sha256(""); }), invalid);
  EXPECT_THAT(changed_header([](Header h) { h.set_size_bytes(h.size_bytes() - 1); }), invalid);
  EXPECT_THAT(changed_header([](Header h) { h.set_size_bytes(h.size_bytes() + 1); }), invalid);
  EXPECT_THAT(changed_header([](Header h) { h.set_size_bytes(int64_t{1} << 50); }), invalid);
  EXPECT_THAT(changed_header([](Header h) { h.set_name("tenants/acme"); }), invalid);
  EXPECT_THAT(changed_header([](Header h) { h.set_name("securityVectors/shield/versions/2"); }),
              FailsWith(grpc::StatusCode::NOT_FOUND));
  EXPECT_EQ(List()[0].sha256(), Sha256Hex(before_));
  EXPECT_EQ(Reseals(), 0);
  EXPECT_THAT(ReplaceBy(after_), Succeeds()) << "a refusal leaves the version free";
}

TEST_F(SealedVersionRpcsTest, ARunningJobKeepsTheBytesThatItsLeaseNames) {
  AddJob(acme_key_);
  AddJob(acme_key_);
  const v1::Lease running = LeaseWork();
  ASSERT_THAT(ReplaceBy(after_), Succeeds());
  CollectBlobs();
  std::string bytes;
  EXPECT_THAT(FetchVector(running, bytes), Succeeds());
  EXPECT_EQ(Sha256Hex(bytes), VectorDigest(running));
  EXPECT_EQ(Sha256Hex(bytes), Sha256Hex(before_));

  // A lease from now on names the new bytes, and so does another attempt at the same work.
  const v1::Lease later = LeaseWork();
  EXPECT_EQ(VectorDigest(later), Sha256Hex(after_));
  v1::FailJobRequest fail;
  fail.set_work(running.work());
  fail.set_attempt(running.attempt());
  fail.set_error_code("SECURITY_VECTOR_KEY_MISMATCH");
  fail.set_retryable(true);
  v1::FailJobResponse failed;
  ASSERT_THAT(Call(&v1::WorkerService::Stub::FailJob, worker_key_, fail, failed), Succeeds());
  EXPECT_EQ(VectorDigest(LeaseWork()), Sha256Hex(after_));

  EXPECT_TRUE(Stored(before_));
  CollectBlobs();
  EXPECT_FALSE(Stored(before_)) << "nothing names the old bytes any more";
  EXPECT_TRUE(Stored(after_));
  bytes.clear();
  EXPECT_THAT(FetchVector(later, bytes), Succeeds());
  EXPECT_EQ(Sha256Hex(bytes), Sha256Hex(after_));
}

}  // namespace
}  // namespace wardtune
