#include "worker/security/security_vector.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <span>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"

namespace wardtune {
namespace {

// With held guard rows the format is 3, so that no worker from before trains without them.
constexpr const char* kFormat = "wardtune-security-vector-2";
constexpr const char* kFormatWithHeldRows = "wardtune-security-vector-3";

// Tensors of the file. `adapter` holds the adapter's own safetensors bytes.
constexpr const char* kAdapter = "adapter";
constexpr const char* kPromptIds = "canary.prompt_ids";          // I32, all prompts in a row
constexpr const char* kPromptLengths = "canary.prompt_lengths";  // I64 [prompts]
constexpr const char* kEntries = "canary.entries";               // I32 [prompts, kEntries]
constexpr const char* kLogits = "canary.logits";                 // F32 [prompts, kEntries]
constexpr const char* kSeparation = "canary.separation";         // F64 [1]
// Guard rows of a kind: KIND.ids, I32, all rows in a row; KIND.mask, U8, as these; KIND.lengths,
// I64 [rows].
constexpr const char* kLearnedRows = "guard";
constexpr const char* kHeldRows = "guard_held";

absl::Status Damaged(std::string_view why) {
  return absl::DataLossError(absl::StrCat("security vector: ", std::string(why)));
}

template <typename T>
std::span<const std::byte> AsBytes(const std::vector<T>& values) {
  return std::as_bytes(std::span<const T>(values));
}

template <typename T>
absl::StatusOr<std::vector<T>> Read(const SafetensorsContent& content, const std::string& name,
                                    TensorDType dtype) {
  const auto found = content.tensors.find(name);
  if (found == content.tensors.end() || found->second.dtype != dtype) {
    return Damaged(absl::StrCat("tensor '", name, "' is missing or of another type"));
  }
  std::vector<T> values(found->second.data.size() / sizeof(T));
  std::memcpy(values.data(), found->second.data.data(), values.size() * sizeof(T));
  return values;
}

template <typename T>
std::vector<T> Flatten(const std::vector<std::vector<T>>& rows) {
  std::vector<T> flat;
  for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
  return flat;
}

struct FlatRows {
  std::vector<int32_t> ids;
  std::vector<uint8_t> mask;
  std::vector<int64_t> lengths;
};
FlatRows FlattenRows(const std::vector<TrainingRow>& rows) {
  FlatRows flat;
  for (const TrainingRow& row : rows) {
    flat.ids.insert(flat.ids.end(), row.ids.begin(), row.ids.end());
    flat.mask.insert(flat.mask.end(), row.loss_mask.begin(), row.loss_mask.end());
    flat.lengths.push_back(static_cast<int64_t>(row.ids.size()));
  }
  return flat;
}

// `rows` must outlive the tensors.
void AppendRows(const std::string& kind, const FlatRows& rows, std::vector<NamedTensor>& tensors) {
  if (rows.lengths.empty()) return;  // the format has no empty tensors
  const auto tokens = static_cast<int64_t>(rows.ids.size());
  const auto count = static_cast<int64_t>(rows.lengths.size());
  tensors.push_back({kind + ".ids", TensorDType::kI32, {tokens}, AsBytes(rows.ids)});
  tensors.push_back({kind + ".mask", TensorDType::kU8, {tokens}, AsBytes(rows.mask)});
  tensors.push_back({kind + ".lengths", TensorDType::kI64, {count}, AsBytes(rows.lengths)});
}

absl::StatusOr<CanarySet> ReadCanaries(const SafetensorsContent& content) {
  WT_ASSIGN_OR_RETURN(const auto ids, Read<int32_t>(content, kPromptIds, TensorDType::kI32));
  WT_ASSIGN_OR_RETURN(const auto lengths,
                      Read<int64_t>(content, kPromptLengths, TensorDType::kI64));
  WT_ASSIGN_OR_RETURN(const auto entries, Read<int32_t>(content, kEntries, TensorDType::kI32));
  WT_ASSIGN_OR_RETURN(const auto logits, Read<float>(content, kLogits, TensorDType::kF32));
  WT_ASSIGN_OR_RETURN(const auto separation, Read<double>(content, kSeparation, TensorDType::kF64));
  const size_t expected = lengths.size() * CanarySet::kEntries;
  if (entries.size() != expected || logits.size() != expected || separation.size() != 1) {
    return Damaged("the canaries' tensors do not belong together");
  }
  CanarySet set;
  set.separation = separation[0];
  size_t at = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] <= 0 || static_cast<size_t>(lengths[i]) > ids.size() - at) {
      return Damaged("a canary prompt's length is wrong");
    }
    set.prompts.emplace_back(ids.begin() + at, ids.begin() + at + lengths[i]);
    at += lengths[i];
    const size_t from = i * CanarySet::kEntries;
    set.entries.emplace_back(entries.begin() + from, entries.begin() + from + CanarySet::kEntries);
    set.logits.emplace_back(logits.begin() + from, logits.begin() + from + CanarySet::kEntries);
  }
  if (at != ids.size()) return Damaged("canary tokens are left over");
  return set;
}

absl::StatusOr<std::vector<TrainingRow>> ReadGuardRows(const SafetensorsContent& content,
                                                       const std::string& kind) {
  std::vector<TrainingRow> rows;
  if (!content.tensors.contains(kind + ".lengths")) return rows;
  WT_ASSIGN_OR_RETURN(const auto ids, Read<int32_t>(content, kind + ".ids", TensorDType::kI32));
  WT_ASSIGN_OR_RETURN(const auto mask, Read<uint8_t>(content, kind + ".mask", TensorDType::kU8));
  WT_ASSIGN_OR_RETURN(const auto lengths,
                      Read<int64_t>(content, kind + ".lengths", TensorDType::kI64));
  if (mask.size() != ids.size()) return Damaged("the guard rows' tensors do not belong together");
  size_t at = 0;
  for (const int64_t length : lengths) {
    if (length <= 0 || static_cast<size_t>(length) > ids.size() - at) {
      return Damaged("a guard row's length is wrong");
    }
    const size_t end = at + static_cast<size_t>(length);
    rows.push_back({.ids = {ids.begin() + at, ids.begin() + end},
                    .loss_mask = {mask.begin() + at, mask.begin() + end}});
    at = end;
  }
  if (at != ids.size()) return Damaged("guard tokens are left over");
  return rows;
}

absl::Status ReadMetadata(const SafetensorsContent& content, SecurityVector& vector) {
  std::string seed;
  std::string categories;
  std::string guard_rows;
  const std::map<std::string, std::string*> fields = {
      {"base_sha256", &vector.base_sha256},
      {"recipe_sha256", &vector.recipe_sha256},
      {"harmful_rows_sha256", &vector.harmful_rows_sha256},
      {"general_rows_sha256", &vector.general_rows_sha256},
      {"seed", &seed},
      {"per_guarded_rows", &guard_rows},
      {"categories", &categories}};
  const auto format = content.metadata.find("format");
  if (format == content.metadata.end() ||
      (format->second != kFormat && format->second != kFormatWithHeldRows)) {
    return Damaged(absl::StrCat("it is of neither format ", kFormat, " nor ", kFormatWithHeldRows));
  }
  for (const auto& [name, value] : fields) {
    const auto found = content.metadata.find(name);
    if (found == content.metadata.end()) {
      return Damaged(absl::StrCat("metadata '", name, "' is missing"));
    }
    *value = found->second;
  }
  if (!absl::SimpleAtoi(seed, &vector.seed)) return Damaged("its seed is no number");
  if (!absl::SimpleAtoi(guard_rows, &vector.guard.per_guarded_rows) ||
      vector.guard.per_guarded_rows < 0) {
    return Damaged("its number of guard rows is none");
  }
  vector.categories = absl::StrSplit(categories, ',', absl::SkipEmpty());
  const auto parts = content.metadata.find("parts");
  if (parts == content.metadata.end()) return absl::OkStatus();
  WT_ASSIGN_OR_RETURN(vector.parts, ParseParts(parts->second));
  vector.categories = CategoriesOf(vector.parts);
  return absl::OkStatus();
}

// True when the delta scale * B A is zero in every matrix because a factor is.
bool HasNoEffect(const LoraAdapter& adapter) {
  const auto all_zero = [](const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float v) { return v == 0.0f; });
  };
  for (const auto& layer : adapter.layers) {
    for (const LoraMatrices& m : layer) {
      if (!m.empty() && !all_zero(m.a) && !all_zero(m.b)) return false;
    }
  }
  return true;
}

}  // namespace

std::string SecurityVectorDigest(const SecurityVector& vector) {
  return AdapterDigest(vector.adapter);
}

absl::StatusOr<std::string> SerializeSecurityVector(const SecurityVector& vector) {
  WT_ASSIGN_OR_RETURN(const std::string adapter, SerializeAdapter(vector.adapter));
  const CanarySet& canaries = vector.canaries;
  const std::vector<int32_t> ids = Flatten(canaries.prompts);
  std::vector<int64_t> lengths;
  for (const auto& prompt : canaries.prompts) lengths.push_back(prompt.size());
  const std::vector<int32_t> entries = Flatten(canaries.entries);
  const std::vector<float> logits = Flatten(canaries.logits);
  const std::vector<double> separation = {canaries.separation};
  const auto prompts = static_cast<int64_t>(canaries.prompts.size());

  SafetensorsWriteOptions options;
  options.metadata = {{"format", vector.guard.held.empty() ? kFormat : kFormatWithHeldRows},
                      {"base_sha256", vector.base_sha256},
                      {"recipe_sha256", vector.recipe_sha256},
                      {"harmful_rows_sha256", vector.harmful_rows_sha256},
                      {"general_rows_sha256", vector.general_rows_sha256},
                      {"seed", absl::StrCat(vector.seed)},
                      {"per_guarded_rows", absl::StrCat(vector.guard.per_guarded_rows)},
                      {"categories", absl::StrJoin(vector.categories, ",")}};
  if (!vector.parts.empty()) options.metadata["parts"] = FormatParts(vector.parts);
  options.require_finite = true;
  std::vector<NamedTensor> tensors;
  tensors.push_back({kAdapter,
                     TensorDType::kU8,
                     {static_cast<int64_t>(adapter.size())},
                     std::as_bytes(std::span<const char>(adapter))});
  tensors.push_back(
      {kPromptIds, TensorDType::kI32, {static_cast<int64_t>(ids.size())}, AsBytes(ids)});
  tensors.push_back({kPromptLengths, TensorDType::kI64, {prompts}, AsBytes(lengths)});
  tensors.push_back(
      {kEntries, TensorDType::kI32, {prompts, CanarySet::kEntries}, AsBytes(entries)});
  tensors.push_back({kLogits, TensorDType::kF32, {prompts, CanarySet::kEntries}, AsBytes(logits)});
  tensors.push_back({kSeparation, TensorDType::kF64, {1}, AsBytes(separation)});
  const FlatRows learned = FlattenRows(vector.guard.learned);
  const FlatRows held = FlattenRows(vector.guard.held);
  AppendRows(kLearnedRows, learned, tensors);
  AppendRows(kHeldRows, held, tensors);
  return SerializeSafetensors(std::move(tensors), options);
}

absl::StatusOr<SecurityVector> ParseSecurityVector(const ModelConfig& config,
                                                   std::string_view bytes) {
  const auto content = CopySafetensors(bytes);
  if (!content.ok()) return Damaged(std::string(content.status().message()));
  SecurityVector vector;
  WT_RETURN_IF_ERROR(ReadMetadata(*content, vector));
  WT_ASSIGN_OR_RETURN(vector.canaries, ReadCanaries(*content));
  WT_ASSIGN_OR_RETURN(vector.guard.learned, ReadGuardRows(*content, kLearnedRows));
  WT_ASSIGN_OR_RETURN(vector.guard.held, ReadGuardRows(*content, kHeldRows));
  WT_ASSIGN_OR_RETURN(const auto adapter, Read<char>(*content, kAdapter, TensorDType::kU8));
  auto parsed = ParseAdapter(config, std::string_view(adapter.data(), adapter.size()));
  if (!parsed.ok()) return Damaged(std::string(parsed.status().message()));
  vector.adapter = *std::move(parsed);
  if (vector.parts.empty()) vector.parts = {{vector.adapter.spec.rank, vector.categories}};
  return vector;
}

absl::StatusOr<SecurityVector> OpenSecurityVector(const SealingKeys& keys,
                                                  const SecurityVectorIdentity& identity,
                                                  const ModelConfig& config,
                                                  std::string_view sealed) {
  WT_ASSIGN_OR_RETURN(std::string plain, keys.Open(identity.version, sealed));
  absl::StatusOr<SecurityVector> vector = ParseSecurityVector(config, plain);
  OPENSSL_cleanse(plain.data(), plain.size());
  WT_RETURN_IF_ERROR(vector.status());
  if (vector->base_sha256 != identity.base_sha256) {
    return Damaged(absl::StrCat(identity.version, " was trained for base model ",
                                vector->base_sha256, ", the job runs on ", identity.base_sha256));
  }
  if (HasNoEffect(vector->adapter)) {
    return absl::FailedPreconditionError(
        absl::StrCat("security vector: ", identity.version, " is all zero and has no effect"));
  }
  const std::string digest = SecurityVectorDigest(*vector);
  if (digest != identity.sha256) {
    return Damaged(absl::StrCat(identity.version, " has the weights ", digest,
                                ", the job must train with ", identity.sha256));
  }
  return vector;
}

}  // namespace wardtune
