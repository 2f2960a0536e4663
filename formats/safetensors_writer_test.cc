#include "formats/safetensors_writer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/file_system.h"
#include "base/status_matchers.h"
#include "formats/safetensors_reader.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

const std::vector<float> kFloats = {1, 2};
const std::vector<uint8_t> kBytes = {7, 8, 9};

NamedTensor Floats(std::string name) {
  return {std::move(name), TensorDType::kF32, {2}, std::as_bytes(std::span(kFloats))};
}
NamedTensor Bytes(std::string name) {
  return {std::move(name), TensorDType::kU8, {3}, std::as_bytes(std::span(kBytes))};
}

TEST(SafetensorsWriterTest, TheOrderGivenDoesNotMatter) {
  SafetensorsWriteOptions options;
  options.metadata = {{"k\"\n", "v"}};
  WT_ASSERT_OK_AND_ASSIGN(const std::string one,
                          SerializeSafetensors({Bytes("a"), Floats("z"), Floats("m")}, options));
  WT_ASSERT_OK_AND_ASSIGN(const std::string other,
                          SerializeSafetensors({Floats("m"), Bytes("a"), Floats("z")}, options));
  EXPECT_EQ(one, other);
  WT_ASSERT_OK_AND_ASSIGN(const auto content, ParseSafetensors(std::as_bytes(std::span(one))));
  EXPECT_EQ(content.metadata.at("k\"\n"), "v");
  EXPECT_EQ(content.tensors.at("a").data[2], std::byte{9});
}

TEST(SafetensorsWriterTest, WritesTheBytesOfTheFormat) {
  WT_ASSERT_OK_AND_ASSIGN(const std::string bytes, SerializeSafetensors({Bytes("a")}));
  const std::string header = R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})";
  ASSERT_EQ(header.size() % 8, 5u);
  EXPECT_EQ(bytes, std::string("\x38\0\0\0\0\0\0\0", 8) + header + "   " + "\x07\x08\x09");
}

TEST(SafetensorsWriterTest, TheFileEqualsTheString) {
  PosixFileSystem files;
  const std::string path = ::testing::TempDir() + "/writer.safetensors";
  WT_ASSERT_OK_AND_ASSIGN(auto file, files.OpenForAppend(path, 0));
  WT_ASSERT_OK(WriteSafetensors({Floats("b"), Bytes("a")}, {}, *file));
  EXPECT_EQ(files.ReadFile(path).value(), SerializeSafetensors({Floats("b"), Bytes("a")}).value());
}

TEST(SafetensorsWriterTest, RefusesWhatItCouldNotReadBack) {
  EXPECT_THAT(SerializeSafetensors({Bytes("a"), Bytes("a")}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("two tensors")));
  EXPECT_THAT(SerializeSafetensors({Bytes("")}), StatusIs(absl::StatusCode::kInvalidArgument));
  NamedTensor wrong = Bytes("a");
  wrong.shape = {4};
  EXPECT_THAT(SerializeSafetensors({wrong}), StatusIs(absl::StatusCode::kInvalidArgument));
  wrong.shape = {0};
  EXPECT_THAT(SerializeSafetensors({wrong}), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(SafetensorsWriterTest, RefusesNonFiniteValuesWhenAsked) {
  SafetensorsWriteOptions options;
  options.require_finite = true;
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    const std::vector<float> values = {1, bad};
    const NamedTensor tensor = {"x", TensorDType::kF32, {2}, std::as_bytes(std::span(values))};
    EXPECT_THAT(SerializeSafetensors({tensor}, options),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("NaN")));
    WT_EXPECT_OK(SerializeSafetensors({tensor}));
  }
  WT_EXPECT_OK(SerializeSafetensors({Floats("x")}, options));
}

}  // namespace
}  // namespace wardtune
