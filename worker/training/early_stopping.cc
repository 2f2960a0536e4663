#include "worker/training/early_stopping.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"
#include "worker/training/row_loss.h"
#include "worker/training/trainer_validation.h"

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

EarlyStopping::EarlyStopping(ValidationOptions options, DecoderModel model,
                             std::shared_ptr<const LoraAdapter> frozen)
    : options_(std::move(options)),
      model_(std::move(model)),
      frozen_(std::move(frozen)),
      fingerprint_(FingerprintOf(options_)) {}

bool EarlyStopping::IsDue(int64_t step, int64_t total_steps) const {
  return step % options_.every_steps == 0 || step == total_steps;
}

absl::StatusOr<double> EarlyStopping::Measure(int64_t step, const LoraAdapter& adapter) {
  std::vector<const LoraAdapter*> active = {&adapter};
  if (frozen_ != nullptr) active.push_back(frozen_.get());
  WT_ASSIGN_OR_RETURN(const std::vector<double> losses, RowLosses(model_, active, options_.rows));
  double sum = 0.0;
  double tokens = 0.0;
  for (size_t i = 0; i < losses.size(); ++i) {
    const auto count = static_cast<double>(SupervisedTokens(options_.rows[i]));
    sum += losses[i] * count;
    tokens += count;
  }
  const double loss = sum / tokens;
  if (!std::isfinite(loss)) {
    return absl::AbortedError(absl::StrCat("step ", step, ": the validation loss is not finite"));
  }
  misses_ = kept_.empty() || loss < *kept_.front().validation_loss ? 0 : misses_ + 1;
  const auto place = std::upper_bound(
      kept_.begin(), kept_.end(), loss,
      [](double value, const AdapterAtStep& kept) { return value < *kept.validation_loss; });
  if (place - kept_.begin() < options_.keep) kept_.insert(place, {adapter, step, loss});
  if (static_cast<int64_t>(kept_.size()) > options_.keep) kept_.pop_back();
  return loss;
}

absl::StatusOr<std::string> EarlyStopping::Wrap(const std::string& trainer_state) const {
  SafetensorsWriteOptions options;
  options.metadata = {{"validation", fingerprint_},
                      {"misses", absl::StrCat(misses_)},
                      {"kept", absl::StrCat(kept_.size())}};
  std::vector<std::string> adapters(kept_.size());  // outlive the tensors
  std::vector<NamedTensor> tensors = {Bytes(kTrainerState, trainer_state)};
  for (size_t i = 0; i < kept_.size(); ++i) {
    WT_ASSIGN_OR_RETURN(adapters[i], SerializeAdapter(kept_[i].adapter));
    tensors.push_back(Bytes(KeptName(i, "adapter"), adapters[i]));
    // Hexadecimal floating point loses no bit.
    options.metadata[KeptName(i, "loss")] = absl::StrFormat("%a", *kept_[i].validation_loss);
    options.metadata[KeptName(i, "step")] = absl::StrCat(kept_[i].step);
  }
  return SerializeSafetensors(std::move(tensors), options);
}

absl::StatusOr<std::string> EarlyStopping::Unwrap(std::string_view bytes) {
  const auto content = CopySafetensors(bytes);
  if (!content.ok()) return Damaged();
  const auto made_of = content->metadata.find("validation");
  if (made_of == content->metadata.end()) return Damaged();
  if (made_of->second != fingerprint_) {
    return absl::FailedPreconditionError("checkpoint: was validated on other rows or otherwise");
  }
  int64_t misses = 0;
  if (!ReadField(*content, "misses", misses) || misses < 0) return Damaged();
  WT_ASSIGN_OR_RETURN(std::string state, TextOf(*content, kTrainerState));
  int64_t count = 0;
  if (!ReadField(*content, "kept", count) || count < 0 || count > options_.keep) return Damaged();
  std::vector<AdapterAtStep> kept(static_cast<size_t>(count));
  for (size_t i = 0; i < kept.size(); ++i) {
    WT_ASSIGN_OR_RETURN(const std::string adapter, TextOf(*content, KeptName(i, "adapter")));
    WT_ASSIGN_OR_RETURN(kept[i].adapter, ParseAdapter(model_.config(), adapter));
    if (!ReadField(*content, KeptName(i, "loss"), kept[i].validation_loss.emplace()) ||
        !ReadField(*content, KeptName(i, "step"), kept[i].step)) {
      return Damaged();
    }
  }
  kept_ = std::move(kept);
  misses_ = misses;
  return state;
}

}  // namespace wardtune
