// Uploads of data sets: cut, taken up again, refused, and drained at shutdown.
#include <future>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "server/testing/server_fixture.h"
#include "storage/blob_store.h"

namespace wardtune {
namespace {

using testing::FailsWith;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::Succeeds;
using Header = v1::UploadDatasetRequest::Header;
using v1::Dataset;

class UploadRpcsTest : public testing::ServerFixture {
 protected:
  UploadRpcsTest() {
    options_.limits.sync_every_bytes = 1;
    StartServer();
    AddTenants();
    header_.set_name(AddDataset(acme_key_));
  }

  // A stream that the test feeds by hand.
  struct Stream {
    Stream(UploadRpcsTest& test, const Header& header)
        : context(test.acme_key_), stub(test.StubOf<v1::DatasetService>()) {
      writer = stub->UploadDataset(&context, &response);
      v1::UploadDatasetRequest request;
      *request.mutable_header() = header;
      writer->Write(request);
    }
    void Send(const std::string& bytes) {
      v1::UploadDatasetRequest request;
      request.set_chunk(bytes);
      writer->Write(request);
    }
    Outcome Finish() {
      writer->WritesDone();
      return testing::OutcomeOf(writer->Finish());
    }

    testing::CallContext context;
    std::unique_ptr<v1::DatasetService::Stub> stub;
    v1::UploadDatasetResponse response;
    std::unique_ptr<grpc::ClientWriter<v1::UploadDatasetRequest>> writer;
  };

  Dataset Get() { return GetDataset(acme_key_, header_.name()); }
  std::string Id() const { return header_.name().substr(header_.name().rfind('/') + 1); }

  // Returns once the server has that many bytes on disk.
  void AwaitReceived(int64_t bytes) {
    while (Get().received_bytes() < bytes && !HasFailure()) {
    }
  }

  // Begins a shutdown and returns once it shows.
  std::future<void> BeginShutdown() {
    auto done = std::async(std::launch::async, [this] { server_->Shutdown(); });
    v1::GetDatasetResponse response;
    v1::GetDatasetRequest request;
    request.set_name(header_.name());
    while (Call(&v1::DatasetService::Stub::GetDataset, acme_key_, request, response).ok()) {
    }
    return done;
  }

  Header header_;
};

TEST_F(UploadRpcsTest, AnUploadThatEndsWithinTheDrainIsKept) {
  Stream stream(*this, header_);
  stream.Send(kRow);
  AwaitReceived(sizeof(kRow) - 1);
  const auto shutdown = BeginShutdown();
  stream.Send(kRow);
  EXPECT_THAT(stream.Finish(), Succeeds());
  shutdown.wait();
  StartServer();
  EXPECT_EQ(Get().state(), Dataset::STATE_READY);
  EXPECT_EQ(Get().row_count(), 2);
}

// A stream that was open when its key was revoked could be fed and finished any time later.
TEST_F(UploadRpcsTest, ARevokedKeyFinishesNoUpload) {
  Stream stream(*this, header_);
  stream.Send(kRow);
  AwaitReceived(sizeof(kRow) - 1);
  ASSERT_NO_FATAL_FAILURE(RevokeKeyOf("acme"));
  EXPECT_THAT(stream.Finish(), FailsWith(grpc::StatusCode::UNAUTHENTICATED));
}

// What had come stayed for the collector's grace, beyond any quota.
TEST_F(UploadRpcsTest, DeletingAnUnfinishedUploadFreesItsBytes) {
  Stream stream(*this, header_);
  stream.Send(std::string(kRow, 10));
  AwaitReceived(10);
  stream.context.TryCancel();
  EXPECT_FALSE(stream.Finish().ok());
  EXPECT_THAT(server_->blobs().ReadPartial(Id(), 0, 10), testing::IsOk());
  v1::DeleteDatasetRequest request;
  request.set_name(header_.name());
  v1::DeleteDatasetResponse response;
  ASSERT_THAT(Call(&v1::DatasetService::Stub::DeleteDataset, acme_key_, request, response),
              Succeeds());
  EXPECT_THAT(server_->blobs().ReadPartial(Id(), 0, 10),
              testing::StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(UploadRpcsTest, AnUploadThatTheDrainCutsOffIsTakenUpAgain) {
  server_->Shutdown();
  options_.drain = absl::Milliseconds(1);
  StartServer();
  const std::string half(kRow, 10);
  {
    Stream stream(*this, header_);
    stream.Send(half);
    AwaitReceived(10);
    BeginShutdown().wait();
    EXPECT_FALSE(stream.Finish().ok());
  }
  StartServer();
  ASSERT_EQ(Get().received_bytes(), 10);
  header_.set_offset(10);
  EXPECT_THAT(Upload(acme_key_, header_, kRow + 10), Succeeds());
  EXPECT_EQ(Get().sha256(), Sha256Hex(kRow));
}

TEST_F(UploadRpcsTest, FewerBytesThanTheHeaderSaysAreNoDataset) {
  const std::string two = absl::StrCat(kRow, kRow);
  header_.set_size_bytes(static_cast<int64_t>(two.size()));
  EXPECT_THAT(Upload(acme_key_, header_, kRow),
              FailsWith(grpc::StatusCode::UNAVAILABLE, "UPLOAD_CUT_SHORT"));
  EXPECT_EQ(Get().state(), Dataset::STATE_UPLOADING);
  header_.set_offset(Get().received_bytes());
  EXPECT_THAT(Upload(acme_key_, header_, kRow), Succeeds());
  EXPECT_EQ(Get().sha256(), Sha256Hex(two));
}

TEST_F(UploadRpcsTest, ACutInARowDoesNotRefuseTheData) {
  header_.set_size_bytes(sizeof(kRow) - 1);
  EXPECT_THAT(Upload(acme_key_, header_, std::string(kRow, 10)),
              FailsWith(grpc::StatusCode::UNAVAILABLE, "UPLOAD_CUT_SHORT"));
  EXPECT_EQ(Get().state(), Dataset::STATE_UPLOADING);
  EXPECT_EQ(Get().received_bytes(), 10);
}

TEST_F(UploadRpcsTest, AWrongOffsetIsRefusedNamingTheRightOne) {
  header_.set_offset(5);
  const Outcome refused = Upload(acme_key_, header_, kRow);
  EXPECT_THAT(refused, FailsWith(grpc::StatusCode::FAILED_PRECONDITION, "OFFSET_MISMATCH"));
  EXPECT_THAT(refused.message, HasSubstr("has 0 bytes"));
}

TEST_F(UploadRpcsTest, OtherBytesThanTheDigestStartAnew) {
  header_.set_sha256(Sha256Hex("other"));
  EXPECT_THAT(Upload(acme_key_, header_, kRow),
              FailsWith(grpc::StatusCode::DATA_LOSS, "SHA256_MISMATCH"));
  EXPECT_EQ(Get().received_bytes(), 0);
  header_.set_sha256(Sha256Hex(kRow));
  EXPECT_THAT(Upload(acme_key_, header_, kRow), Succeeds());
}

// The server died after it made the blob and before it said so in the row.
TEST_F(UploadRpcsTest, ABlobWithoutItsRowIsFinished) {
  const std::string row = kRow;
  WT_ASSERT_OK_AND_ASSIGN(auto partial, server_->blobs().OpenPartial(Id(), 0));
  WT_ASSERT_OK(partial->Append(row));
  partial.reset();
  WT_ASSERT_OK(
      server_->store().datasets().RecordReceived("acme", Id(), static_cast<int64_t>(row.size())));
  WT_ASSERT_OK(server_->blobs().CommitPartial(Id(), ""));
  header_.set_offset(static_cast<int64_t>(row.size()));
  EXPECT_THAT(Upload(acme_key_, header_, ""),
              FailsWith(grpc::StatusCode::FAILED_PRECONDITION, "OFFSET_MISMATCH"));
  WT_ASSERT_OK(
      server_->store().datasets().RecordReceived("acme", Id(), static_cast<int64_t>(row.size())));
  header_.set_sha256(Sha256Hex(row));
  EXPECT_THAT(Upload(acme_key_, header_, ""), Succeeds());
  EXPECT_EQ(Get().state(), Dataset::STATE_READY);
  EXPECT_EQ(Get().row_count(), 1);
}

TEST_F(UploadRpcsTest, BytesThatTheQuotaRefusesAreCutOff) {
  v1::CreateTenantRequest tenant;
  tenant.set_tenant_id("small");
  tenant.set_max_dataset_bytes(60);
  v1::CreateTenantResponse created;
  using Admin = v1::AdminService::Stub;
  ASSERT_THAT(Call(&Admin::CreateTenant, provider_key_, tenant, created), Succeeds());
  v1::CreateApiKeyRequest request;
  request.set_tenant("tenants/small");
  request.set_role(v1::ROLE_TENANT);
  v1::CreateApiKeyResponse key;
  ASSERT_THAT(Call(&Admin::CreateApiKey, provider_key_, request, key), Succeeds());
  header_.set_name(AddDataset(key.secret()));
  EXPECT_THAT(Upload(key.secret(), header_, absl::StrCat(kRow, kRow)),
              FailsWith(grpc::StatusCode::RESOURCE_EXHAUSTED, "DATASET_BYTES_QUOTA_EXCEEDED"));
  WT_ASSERT_OK_AND_ASSIGN(const std::string kept, server_->blobs().ReadPartial(Id(), 0, 1000));
  EXPECT_EQ(kept, "");
}

TEST_F(UploadRpcsTest, ValidateOnlyReportsWhatIsWrong) {
  Header header;
  header.set_validate_only(true);
  v1::UploadDatasetResponse response;
  ASSERT_THAT(Upload(acme_key_, header, absl::StrCat(kRow, "{}\n"), &response), Succeeds());
  EXPECT_EQ(response.report().rows(), 2);
  EXPECT_EQ(response.report().valid_rows(), 1);
  ASSERT_EQ(response.report().errors_size(), 1);
  EXPECT_EQ(response.report().errors(0).line(), 2);
  EXPECT_EQ(response.report().errors(0).code(), "missing_field");
  ASSERT_THAT(Upload(acme_key_, header, "", &response), Succeeds());
  EXPECT_EQ(response.report().rows(), 0);
  EXPECT_EQ(response.report().errors(0).code(), "no_usable_row");
  // Nothing that follows the hundredth error is waited for.
  Stream stream(*this, header);
  std::string bad;
  for (int i = 0; i < 100; ++i) bad += "{}\n";
  stream.Send(bad);
  EXPECT_TRUE(stream.writer->Finish().ok());
  EXPECT_EQ(stream.response.report().error_count(), 100);
}

TEST_F(UploadRpcsTest, RefusedDataKeepsItsReportAlone) {
  const Outcome refused = Upload(acme_key_, header_, absl::StrCat(kRow, "{}\n"));
  EXPECT_THAT(refused, FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "DATASET_REJECTED"));
  EXPECT_THAT(refused.message, HasSubstr("line 2"));
  EXPECT_EQ(Get().state(), Dataset::STATE_REJECTED);
  EXPECT_THAT(server_->blobs().ReadPartial(Id(), 0, 1),
              testing::StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(UploadRpcsTest, ALineThatDoesNotEndEndsTheUpload) {
  Stream stream(*this, header_);
  const std::string piece(1 << 20, 'x');
  for (int i = 0; i < 17; ++i) stream.Send(piece);
  EXPECT_THAT(testing::OutcomeOf(stream.writer->Finish()),
              FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "DATASET_REJECTED"));
}

TEST_F(UploadRpcsTest, DataThatWillBeRefusedIsNotWritten) {
  header_.set_size_bytes(1000);
  EXPECT_THAT(Upload(acme_key_, header_, absl::StrCat("{}\n", kRow)),
              FailsWith(grpc::StatusCode::UNAVAILABLE, "UPLOAD_CUT_SHORT"));
  EXPECT_EQ(Get().received_bytes(), 0);
}

TEST_F(UploadRpcsTest, TwoStreamsDoNotWriteOneDataset) {
  Stream first(*this, header_);
  first.Send(kRow);
  AwaitReceived(sizeof(kRow) - 1);
  EXPECT_THAT(Upload(acme_key_, header_, kRow),
              FailsWith(grpc::StatusCode::ABORTED, "UPLOAD_IN_PROGRESS"));
  EXPECT_THAT(first.Finish(), Succeeds());
}

TEST_F(UploadRpcsTest, AnOldEtagDeletesNothing) {
  v1::DeleteDatasetRequest request;
  request.set_name(header_.name());
  request.set_etag(Get().etag());
  ASSERT_THAT(Upload(acme_key_, header_, kRow), Succeeds());
  v1::DeleteDatasetResponse response;
  const auto remove = &v1::DatasetService::Stub::DeleteDataset;
  EXPECT_THAT(Call(remove, acme_key_, request, response), FailsWith(grpc::StatusCode::ABORTED));
  request.set_etag(Get().etag());
  EXPECT_THAT(Call(remove, acme_key_, request, response), Succeeds());
}

}  // namespace
}  // namespace wardtune
