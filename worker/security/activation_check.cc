#include "worker/security/activation_check.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "formats/safetensors_writer.h"

namespace wardtune {
namespace {

constexpr double kLeastRelativeSeparation = 0.1;

// The `count` ids with the largest keys, ties to the lower id.
template <typename Key>
std::vector<int32_t> Largest(int64_t vocab, int count, Key key) {
  std::vector<int32_t> ids(vocab);
  std::iota(ids.begin(), ids.end(), 0);
  std::partial_sort(
      ids.begin(), ids.begin() + std::min<int64_t>(count, vocab), ids.end(),
      [&](int32_t a, int32_t b) { return key(a) != key(b) ? key(a) > key(b) : a < b; });
  ids.resize(std::min<int64_t>(count, vocab));
  return ids;
}

double RootMeanSquare(std::span<const float> values) {
  double sum = 0.0;
  for (const float value : values) sum += double{value} * value;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// max |row - base| over some entries; no number where one of them is none.
double Distance(std::span<const float> row, std::span<const float> base,
                const std::vector<int32_t>& entries) {
  double largest = 0.0;
  for (const int32_t id : entries) {
    const double distance = std::abs(double{row[id]} - double{base[id]});
    if (std::isnan(distance)) return distance;
    largest = std::max(largest, distance);
  }
  return largest;
}

}  // namespace

double ToleranceOf(const CanarySet& canaries) {
  return std::min(kCanaryTolerance, canaries.separation / 8.0);
}

absl::StatusOr<CanarySet> RecordCanaries(const DecoderModel& base, const DecoderModel& folded,
                                         std::vector<std::vector<int32_t>> prompts) {
  if (prompts.empty()) return absl::InvalidArgumentError("canaries: there is no prompt");
  WT_ASSIGN_OR_RETURN(const FloatMatrix without, LastTokenLogits(base, {}, prompts));
  WT_ASSIGN_OR_RETURN(const FloatMatrix with, LastTokenLogits(folded, {}, prompts));
  CanarySet set;
  set.prompts = std::move(prompts);
  for (size_t i = 0; i < set.prompts.size(); ++i) {
    const auto on = with.row(i);
    const auto off = without.row(i);
    if (!AllFinite(TensorDType::kF32, std::as_bytes(on)) ||
        !AllFinite(TensorDType::kF32, std::as_bytes(off))) {
      return absl::FailedPreconditionError(absl::StrCat(
          "canaries: a logit of canary ", i,
          " is no finite number; train the vector with a lower rate, or look at the base model"));
    }
    std::vector<int32_t> ids =
        Largest(with.cols, CanarySet::kEntries / 2, [&](int32_t id) { return on[id]; });
    const std::vector<int32_t> moved =
        Largest(with.cols, CanarySet::kEntries - static_cast<int>(ids.size()),
                [&](int32_t id) { return std::abs(on[id] - off[id]); });
    ids.insert(ids.end(), moved.begin(), moved.end());
    std::vector<float> logits;
    for (const int32_t id : ids) logits.push_back(on[id]);

    const double distance = Distance(on, off, ids);
    if (!(distance >= kLeastRelativeSeparation * RootMeanSquare(off))) {
      return absl::FailedPreconditionError(absl::StrCat(
          "canaries: the vector moves the logits of canary ", i, " by ", distance,
          " at most, too little to check that it is active; train it longer or on more rows"));
    }
    set.separation = i == 0 ? distance : std::min(set.separation, distance);
    set.entries.push_back(std::move(ids));
    set.logits.push_back(std::move(logits));
  }
  return set;
}

absl::StatusOr<ActivationCheck> ActivationCheck::Create(CanarySet canaries,
                                                        const DecoderModel& base) {
  if (canaries.prompts.empty()) {
    return absl::DataLossError("canaries: the security vector holds none");
  }
  WT_ASSIGN_OR_RETURN(FloatMatrix base_logits, LastTokenLogits(base, {}, canaries.prompts));
  for (const auto& entries : canaries.entries) {
    for (const int32_t id : entries) {
      if (id < 0 || id >= base_logits.cols) {
        return absl::DataLossError("canaries: an entry lies outside the vocabulary");
      }
    }
  }
  return ActivationCheck(std::move(canaries), std::move(base_logits));
}

absl::Status ActivationCheck::RequireActive(const FloatMatrix& now) const {
  for (size_t i = 0; i < canaries_.prompts.size(); ++i) {
    const double distance = Distance(now.row(i), base_logits_.row(i), canaries_.entries[i]);
    // `!(a >= b)` also catches NaN.
    if (canaries_.separation <= 0.0 || !(distance >= canaries_.separation / 2.0)) {
      return absl::FailedPreconditionError(absl::StrCat(
          "canary ", i, " is answered like the plain base model: logits differ by ", distance,
          ", must by ", canaries_.separation / 2.0, "; the security vector is not active"));
    }
  }
  return absl::OkStatus();
}

absl::Status ActivationCheck::RequireRecorded(const FloatMatrix& now) {
  double worst = 0.0;
  for (size_t i = 0; i < canaries_.prompts.size(); ++i) {
    for (size_t k = 0; k < canaries_.entries[i].size(); ++k) {
      const double diff =
          std::abs(double{now.row(i)[canaries_.entries[i][k]]} - double{canaries_.logits[i][k]});
      if (!(diff <= tolerance())) {
        return absl::DataLossError(absl::StrCat("canary ", i, " misses its recorded logit by ",
                                                diff, ", at most ", tolerance(),
                                                " is allowed; the security vector or the base "
                                                "model is not the one that was recorded"));
      }
      worst = std::max(worst, diff);
    }
  }
  max_abs_diff_ = std::max(max_abs_diff_, worst);
  return absl::OkStatus();
}

absl::Status ActivationCheck::Check(const DecoderModel& trained_on) {
  WT_ASSIGN_OR_RETURN(const FloatMatrix now, LastTokenLogits(trained_on, {}, canaries_.prompts));
  ++checks_;
  WT_RETURN_IF_ERROR(RequireActive(now));
  return RequireRecorded(now);
}

absl::Status ActivationCheck::CheckBeside(const DecoderModel& weights, const LoraAdapter& vector) {
  const LoraAdapter* const active[] = {&vector};
  WT_ASSIGN_OR_RETURN(const FloatMatrix beside,
                      LastTokenLogits(weights, active, canaries_.prompts));
  WT_RETURN_IF_ERROR(RequireActive(beside));
  WT_ASSIGN_OR_RETURN(const DecoderModel folded, FoldAdapter(weights, vector));
  return Check(folded);
}

}  // namespace wardtune
