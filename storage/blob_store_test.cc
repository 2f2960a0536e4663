#include "storage/blob_store.h"

#include <filesystem>
#include <string>

#include "base/clock.h"
#include "base/sha256.h"
#include "base/status_matchers.h"
#include "storage/dying_file_system.h"
#include "storage/folder_blob_store.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

class BlobStoreTest : public ::testing::Test {
 protected:
  BlobStoreTest() {
    folder_ = ::testing::TempDir() + "/blob_store_test";
    std::filesystem::remove_all(folder_);
    Open();
  }

  void Open() { store_ = FolderBlobStore::Open(folder_, files_, clock_).value(); }

  void Upload(const std::string& id, int64_t offset, std::string_view bytes) {
    auto partial = store_->OpenPartial(id, offset).value();
    WT_ASSERT_OK(partial->Append(bytes));
    ASSERT_EQ(partial->Sync().value(), offset + static_cast<int64_t>(bytes.size()));
  }

  std::string folder_;
  FakeClock clock_;
  testing::DyingFileSystem files_;
  std::unique_ptr<FolderBlobStore> store_;
};

TEST_F(BlobStoreTest, AnInterruptedUploadGoesOnWhereItWasSynced) {
  Upload("d1", 0, "hello ");
  {
    auto partial = store_->OpenPartial("d1", 6).value();
    WT_ASSERT_OK(partial->Append("lost, for nobody synced it"));
  }
  Open();
  EXPECT_EQ(store_->ReadPartial("d1", 0, 6).value(), "hello ");
  Upload("d1", 6, "world");
  const BlobRef blob = store_->CommitPartial("d1", Sha256Hex("hello world")).value();
  EXPECT_EQ(blob.size_bytes, 11);
  EXPECT_EQ(store_->ReadAll(blob.sha256).value(), "hello world");
  EXPECT_EQ(store_->ReadRange(blob.sha256, 6, 100).value(), "world");
  EXPECT_EQ(store_->ReadRange(blob.sha256, 11, 1).value(), "");
  EXPECT_THAT(store_->ReadRange(blob.sha256, 12, 1), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(store_->CommitPartial("d1", ""), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(BlobStoreTest, BytesThatAreGoneAreDataLoss) {
  Upload("d1", 0, "abc");
  EXPECT_THAT(store_->OpenPartial("d1", 4), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(store_->OpenPartial("d2", 1), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(BlobStoreTest, AnotherDigestIsDataLossAndThePartialStays) {
  Upload("d1", 0, "abc");
  EXPECT_THAT(store_->CommitPartial("d1", Sha256Hex("abd")),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(Sha256Hex("abc"))));
  WT_EXPECT_OK(store_->CommitPartial("d1", ""));
}

TEST_F(BlobStoreTest, AFlippedBitIsDataLoss) {
  const BlobRef blob = store_->Put("precious").value();
  WT_EXPECT_OK(store_->Verify(blob.sha256));
  const std::string path = folder_ + "/blobs/" + blob.sha256.substr(0, 2) + "/" + blob.sha256;
  WT_ASSERT_OK(files_.WriteFileAtomically(path, "precioUs"));
  EXPECT_THAT(store_->ReadAll(blob.sha256), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(store_->Verify(blob.sha256), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(BlobStoreTest, NoIdLeavesTheFolder) {
  for (const std::string& id : {std::string("../x"), std::string("a/b"), std::string(),
                                std::string("a\0b", 3), std::string(129, 'a'), std::string("A")}) {
    EXPECT_THAT(store_->OpenPartial(id, 0), StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(store_->DiscardPartial(id), StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(store_->ReadAll(id), StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(store_->ReadAll("../" + std::string(61, 'a')),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(store_->ReadAll(std::string(64, 'a')), StatusIs(absl::StatusCode::kNotFound));
}

// Whichever change of an upload is the first to fail: no blob, and a retry succeeds.
TEST_F(BlobStoreTest, AFailureAtAnyChangeLeavesNothingHalfStored) {
  const std::string sha256 = Sha256Hex("first second");
  int changes = 0;
  for (bool survived = false; !survived; ++changes) {
    ASSERT_LT(changes, 50);
    std::filesystem::remove_all(folder_);
    files_.Heal();
    Open();
    files_.DieAfter(changes);
    int64_t acknowledged = 0;
    auto upload = [&]() -> absl::Status {
      {
        WT_ASSIGN_OR_RETURN(auto partial, store_->OpenPartial("d1", 0));
        for (const char* piece : {"first ", "second"}) {
          WT_RETURN_IF_ERROR(partial->Append(piece));
          WT_ASSIGN_OR_RETURN(acknowledged, partial->Sync());
        }
      }
      return store_->CommitPartial("d1", sha256).status();
    };
    survived = upload().ok();
    files_.Heal();
    EXPECT_EQ(store_->Verify(sha256).ok(), survived) << "at change " << changes;
    if (survived) continue;
    EXPECT_EQ(store_->ReadPartial("d1", 0, acknowledged).value_or("").size(),
              static_cast<size_t>(acknowledged));
    Upload("d1", acknowledged, std::string("first second").substr(acknowledged));
    EXPECT_EQ(store_->CommitPartial("d1", sha256).value().sha256, sha256);
  }
  EXPECT_GT(changes, 7);
}

TEST_F(BlobStoreTest, AfterAFailedSyncNoLaterSyncIsBelieved) {
  auto partial = store_->OpenPartial("d1", 0).value();
  WT_ASSERT_OK(partial->Append("abc"));
  files_.DieAfter(0);
  EXPECT_THAT(partial->Sync(), StatusIs(absl::StatusCode::kResourceExhausted));
  files_.Heal();
  EXPECT_THAT(partial->Sync(), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(BlobStoreTest, WhatIsRetiredGoesAtOnceUnlessItIsLiveOrComesAgain) {
  const std::string gone = store_->Put("gone").value().sha256;
  const std::string live = store_->Put("live").value().sha256;
  const std::string again = store_->Put("again").value().sha256;
  for (const std::string& sha256 : {gone, live, again}) store_->Retire(sha256);
  WT_ASSERT_OK(store_->Put("again"));
  EXPECT_EQ(store_->CollectGarbage({live}, {}, absl::Hours(1)).value().blobs, 1);
  EXPECT_THAT(store_->Verify(gone), StatusIs(absl::StatusCode::kNotFound));
  // The mark does not outlast that it was live.
  EXPECT_EQ(store_->CollectGarbage({}, {}, absl::Hours(1)).value().blobs, 0);
  WT_EXPECT_OK(store_->Verify(live));
  WT_EXPECT_OK(store_->Verify(again));
}

// An upload that was taken up after a crash verified its blob while the collector removed it.
TEST_F(BlobStoreTest, WhatIsKeptHasItsGraceAgain) {
  const std::string kept = store_->Put("kept").value().sha256;
  const auto collect = [&] { return store_->CollectGarbage({}, {}, absl::Hours(1)).value().blobs; };
  EXPECT_EQ(collect(), 0);
  clock_.Advance(absl::Hours(1));
  store_->Keep(kept);
  EXPECT_EQ(collect(), 0);
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(collect(), 1);
}

// An artefact that took longer to come than the grace was unlinked while it was written.
TEST_F(BlobStoreTest, AnOpenPartialIsNoGarbage) {
  auto partial = store_->OpenPartial("slow", 0).value();
  WT_ASSERT_OK(partial->Append("half"));
  WT_ASSERT_OK(store_->CollectGarbage({}, {}, absl::Hours(1)));
  clock_.Advance(absl::Hours(2));
  WT_ASSERT_OK(store_->CollectGarbage({}, {}, absl::Hours(1)));
  WT_ASSERT_OK(partial->Append("half"));
  WT_ASSERT_OK(partial->Sync());
  partial.reset();
  EXPECT_EQ(store_->CommitPartial("slow", "").value().size_bytes, 8);
}

TEST_F(BlobStoreTest, GarbageGoesAfterItsGraceAndNotBefore) {
  const std::string live = store_->Put("live").value().sha256;
  const std::string orphan = store_->Put("orphan").value().sha256;
  const std::string touched = store_->Put("touched").value().sha256;
  Upload("old", 0, "x");
  Upload("uploading", 0, "x");
  auto collect = [&] {
    return store_->CollectGarbage({live}, {"uploading"}, absl::Hours(1)).value();
  };
  EXPECT_EQ(collect().blobs, 0);
  clock_.Advance(absl::Minutes(59));
  EXPECT_EQ(collect().blobs, 0);
  // Written again: its grace begins anew.
  WT_ASSERT_OK(store_->Put("touched"));
  clock_.Advance(absl::Minutes(1));
  const BlobStore::Collected collected = collect();
  EXPECT_EQ(collected.blobs, 1);
  EXPECT_EQ(collected.partials, 1);
  WT_EXPECT_OK(store_->Verify(live));
  WT_EXPECT_OK(store_->Verify(touched));
  EXPECT_THAT(store_->Verify(orphan), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(store_->ReadPartial("old", 0, 1), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(store_->ReadPartial("uploading", 0, 1).value(), "x");
}

}  // namespace
}  // namespace wardtune
