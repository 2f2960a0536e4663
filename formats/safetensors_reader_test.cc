#include "formats/safetensors_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "base/file_system.h"
#include "base/process_memory.h"
#include "base/status_matchers.h"
#include "formats/safetensors_writer.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

std::vector<std::byte> File(std::string header, size_t data_bytes, uint64_t claimed = 0) {
  while (header.size() % 8 != 0) header.push_back(' ');
  const uint64_t length = claimed != 0 ? claimed : header.size();
  std::vector<std::byte> file(8 + header.size() + data_bytes);
  std::memcpy(file.data(), &length, 8);
  std::memcpy(file.data() + 8, header.data(), header.size());
  return file;
}

TEST(SafetensorsReaderTest, ReadsTensorsAndMetadata) {
  const auto file = File(R"({"__metadata__":{"format":"pt"},)"
                         R"("w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                         R"("s":{"dtype":"I64","shape":[],"data_offsets":[24,32]}})",
                         32);
  WT_ASSERT_OK_AND_ASSIGN(const auto content, ParseSafetensors(file));
  EXPECT_EQ(content.metadata.at("format"), "pt");
  ASSERT_EQ(content.tensors.size(), 2u);
  EXPECT_EQ(content.tensors.at("w").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(content.tensors.at("w").data.size(), 24u);
  EXPECT_TRUE(content.tensors.at("s").shape.empty());
}

struct Hostile {
  std::string what;
  std::vector<std::byte> file;
};

std::vector<Hostile> HostileFiles() {
  const auto one = [](std::string fields, size_t data) {
    return File("{\"a\":{" + fields + "}}", data);
  };
  return {
      {"shorter", std::vector<std::byte>(7)},
      {"leaves the file", File("{}", 0, 1000)},
      {"longer than 100 MB", File("{}", 0, 100'000'001)},
      {"longer than 100 MB", File("{}", 0, ~uint64_t{0})},
      {"does not start", File(" {}", 0)},
      {"not JSON", File("{\"a\":", 0)},
      {"not JSON", File("{\"a\":" + std::string(50'000, '['), 0)},
      {"repeats", File(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                       R"("\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                       1)},
      {"only", one(R"("dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1])", 1)},
      {"unknown dtype", one(R"("dtype":"Q4","shape":[1],"data_offsets":[0,1])", 1)},
      {"overflows",
       one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])", 0)},
      {"something else", one(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])", 4)},
      {"no elements", one(R"("dtype":"F32","shape":[0],"data_offsets":[0,0])", 0)},
      {"do not fit", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])", 4)},
      {"leave the file", one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])", 4)},
      {"leave the file", one(R"("dtype":"F32","shape":[1],"data_offsets":[8,4])", 16)},
      {"not a pair", one(R"("dtype":"F32","shape":[1],"data_offsets":[-4,0])", 4)},
      {"not a pair", one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])", 8)},
      {"overlaps", File(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                        R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                        6)},
      {"hole", File(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                    R"("b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
                    6)},
      {"behind the last", one(R"("dtype":"U8","shape":[1],"data_offsets":[0,1])", 2)},
      {"aligned", File(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                       R"("b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                       5)},
      {"__metadata__", File(R"({"__metadata__":{"a":1}})", 0)},
  };
}

TEST(SafetensorsReaderTest, RefusesHostileFiles) {
  for (const Hostile& hostile : HostileFiles()) {
    EXPECT_THAT(ParseSafetensors(hostile.file),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(hostile.what)));
  }
}

TEST(SafetensorsReaderTest, SurvivesEveryTruncationAndEveryFlippedBit) {
  const auto file = File(R"({"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}})", 8);
  for (size_t size = 0; size < file.size(); ++size) {
    const std::vector<std::byte> cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_THAT(ParseSafetensors(cut), StatusIs(absl::StatusCode::kInvalidArgument)) << size;
  }
  for (size_t bit = 0; bit < file.size() * 8; ++bit) {
    auto flipped = file;
    flipped[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto content = ParseSafetensors(flipped);
    if (!content.ok()) continue;
    // Whatever is accepted lies inside the file.
    for (const auto& [name, tensor] : content->tensors) {
      EXPECT_GE(tensor.data.data(), flipped.data());
      EXPECT_LE(tensor.data.data() + tensor.data.size(), flipped.data() + flipped.size());
    }
  }
}

TEST(SafetensorsReaderTest, ReadsBytesThatLieOnAnOddAddress) {
  const auto file = File(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  std::string odd(1, 'x');
  odd.append(reinterpret_cast<const char*>(file.data()), file.size());
  WT_ASSERT_OK_AND_ASSIGN(SafetensorsCopy content,
                          CopySafetensors(std::string_view(odd).substr(1)));
  const SafetensorsCopy moved = std::move(content);
  odd.clear();
  const TensorView& view = moved.tensors.at("w");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(view.data.data()) % 8, 0u);
  EXPECT_EQ(std::memcmp(view.data.data(), file.data() + file.size() - 8, 8), 0);
  EXPECT_FALSE(CopySafetensors("").ok());
}

TEST(SafetensorsReaderTest, MapsAFileAndNamesItInErrors) {
  PosixFileSystem files;
  const std::string path = ::testing::TempDir() + "/reader.safetensors";
  const std::vector<float> values = {1, 2, 3};
  WT_ASSERT_OK_AND_ASSIGN(
      const std::string bytes,
      SerializeSafetensors({{"w", TensorDType::kF32, {3}, std::as_bytes(std::span(values))}}));
  WT_ASSERT_OK(files.WriteFileAtomically(path, bytes));
  WT_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(path));
  ASSERT_NE(file->Find("w"), nullptr);
  EXPECT_EQ(std::memcmp(file->Find("w")->data.data(), values.data(), 12), 0);
  EXPECT_EQ(file->Find("none"), nullptr);

  WT_ASSERT_OK(files.WriteFileAtomically(path, bytes.substr(0, 20)));
  EXPECT_THAT(SafetensorsFile::Open(path),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reader.safetensors")));
  EXPECT_THAT(SafetensorsFile::Open(path + ".none"), StatusIs(absl::StatusCode::kNotFound));
}

TEST(SafetensorsReaderTest, ReleasedPagesTakeNoMemoryAndAreReadAgain) {
  constexpr size_t kBytes = size_t{16} << 20;
  std::vector<std::byte> bytes =
      File(R"({"w":{"dtype":"U8","shape":[16777216],"data_offsets":[0,16777216]}})", kBytes);
  for (size_t i = bytes.size() - kBytes; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(i % 251);
  }
  const std::string path = ::testing::TempDir() + "/released.safetensors";
  PosixFileSystem files;
  WT_ASSERT_OK(files.WriteFileAtomically(
      path, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
  WT_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(path));
  const TensorView& tensor = *file->Find("w");
  const auto is_as_written = [&] {
    return std::memcmp(tensor.data.data(), bytes.data() + bytes.size() - kBytes, kBytes) == 0;
  };
  EXPECT_TRUE(is_as_written());
  const int64_t before = ProcessMemory("RssFile:");
  file->ReleasePages();
  EXPECT_LE(ProcessMemory("RssFile:"), before - 15 * 1024 * 1024);
  EXPECT_TRUE(is_as_written());
}

}  // namespace
}  // namespace wardtune
