#include "worker/training/validation_state.h"

#include <span>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"

namespace wardtune {
namespace {

constexpr char kTrainerState[] = "trainer_state";

std::string KeptName(size_t i, const char* what) { return absl::StrCat("kept_", i, "_", what); }

std::string FingerprintOf(const ValidationOptions& options) {
  Sha256 hash;
  hash.Update(absl::StrCat(options.every_steps, " ", options.patience, " ", options.keep, " ",
                           options.rows.size()));
  for (const TrainingRow& row : options.rows) {
    hash.Update(absl::StrCat("\n", row.ids.size(), ":"));
    hash.Update(row.ids.data(), row.ids.size() * sizeof(row.ids[0]));
    hash.Update(row.loss_mask.data(), row.loss_mask.size());
  }
  return hash.HexDigest();
}

absl::Status Damaged() {
  return absl::InvalidArgumentError("checkpoint: the validation's part is missing or damaged");
}

NamedTensor Bytes(const std::string& name, const std::string& bytes) {
  return {name,
          TensorDType::kU8,
          {static_cast<int64_t>(bytes.size())},
          std::as_bytes(std::span<const char>(bytes))};
}

absl::StatusOr<std::string> TextOf(const SafetensorsContent& content, const std::string& name) {
  const auto found = content.tensors.find(name);
  if (found == content.tensors.end() || found->second.dtype != TensorDType::kU8) return Damaged();
  return std::string(reinterpret_cast<const char*>(found->second.data.data()),
                     found->second.data.size());
}

template <typename T>
bool ReadField(const SafetensorsContent& content, const std::string& name, T& value) {
  const auto found = content.metadata.find(name);
  if (found == content.metadata.end()) return false;
  if constexpr (std::is_same_v<T, double>) {
    return absl::SimpleAtod(found->second, &value);
  } else {
    return absl::SimpleAtoi(found->second, &value);
  }
}

}  // namespace

absl::StatusOr<std::string> WrapWithValidation(const AdapterStopping& validation,
                                               const std::string& trainer_state) {
  const std::vector<AdapterAtStep>& kept = validation.kept();
  SafetensorsWriteOptions options;
  options.metadata = {{"validation", FingerprintOf(validation.options())},
                      {"misses", absl::StrCat(validation.state().misses)},
                      {"kept", absl::StrCat(kept.size())}};
  std::vector<std::string> adapters(kept.size());  // outlive the tensors
  std::vector<NamedTensor> tensors = {Bytes(kTrainerState, trainer_state)};
  for (size_t i = 0; i < kept.size(); ++i) {
    WT_ASSIGN_OR_RETURN(adapters[i], SerializeAdapter(kept[i].adapter));
    tensors.push_back(Bytes(KeptName(i, "adapter"), adapters[i]));
    // Hexadecimal floating point loses no bit.
    options.metadata[KeptName(i, "loss")] = absl::StrFormat("%a", *kept[i].validation_loss);
    options.metadata[KeptName(i, "step")] = absl::StrCat(kept[i].step);
  }
  return SerializeSafetensors(std::move(tensors), options);
}

absl::StatusOr<std::string> UnwrapValidation(std::string_view bytes, const ModelConfig& config,
                                             AdapterStopping& validation) {
  const auto content = CopySafetensors(bytes);
  if (!content.ok()) return Damaged();
  const auto made_of = content->metadata.find("validation");
  if (made_of == content->metadata.end()) return Damaged();
  if (made_of->second != FingerprintOf(validation.options())) {
    return absl::FailedPreconditionError("checkpoint: was validated on other rows or otherwise");
  }
  AdapterStopping::State state;
  if (!ReadField(*content, "misses", state.misses) || state.misses < 0) return Damaged();
  WT_ASSIGN_OR_RETURN(std::string trainer_state, TextOf(*content, kTrainerState));
  int64_t count = 0;
  if (!ReadField(*content, "kept", count) || count < 0 || count > validation.options().keep) {
    return Damaged();
  }
  state.kept.resize(static_cast<size_t>(count));
  for (size_t i = 0; i < state.kept.size(); ++i) {
    AdapterAtStep& kept = state.kept[i];
    WT_ASSIGN_OR_RETURN(const std::string adapter, TextOf(*content, KeptName(i, "adapter")));
    WT_ASSIGN_OR_RETURN(kept.adapter, ParseAdapter(config, adapter));
    if (!ReadField(*content, KeptName(i, "loss"), kept.validation_loss.emplace()) ||
        !ReadField(*content, KeptName(i, "step"), kept.step)) {
      return Damaged();
    }
  }
  validation.Restore(std::move(state));
  return trainer_state;
}

}  // namespace wardtune
