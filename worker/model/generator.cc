#include "worker/model/generator.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/model/decoder_forward.h"
#include "worker/model/kv_cache.h"
#include "worker/model/packed_weights.h"
#include "worker/model/prefill_plan.h"
#include "worker/model/seeded_random.h"
#include "worker/model/tensor_ops.h"
#include "worker/model/token_check.h"
#include "worker/model/torch_boundary.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

using TokenLists = std::vector<std::vector<int32_t>>;

// Picks the next token of each row: the arg-max, or a draw from softmax(logits / temperature).
class Sampler {
 public:
  Sampler(const GenerateOptions& options, size_t prompts) : temperature_(options.temperature) {
    if (temperature_ == 0.0) return;
    for (size_t i = 0; i < prompts; ++i) {
      random_.emplace_back(MixSeed(options.seed, i));
    }
  }

  // `prompt_of[row]` is the number of the prompt that a row belongs to.
  std::vector<int32_t> Pick(const at::Tensor& logits, const std::vector<size_t>& prompt_of) {
    std::vector<int32_t> picked(prompt_of.size());
    if (temperature_ == 0.0) {
      const std::vector<int64_t> best = ArgMaxRows(logits);
      std::transform(best.begin(), best.end(), picked.begin(),
                     [](int64_t token) { return static_cast<int32_t>(token); });
      return picked;
    }
    const at::Tensor cumulative =
        at::softmax(logits.to(at::kFloat) / temperature_, 1).cumsum(1, at::kDouble).cpu();
    const int64_t vocab = cumulative.size(1);
    for (size_t row = 0; row < picked.size(); ++row) {
      const double* begin = cumulative.const_data_ptr<double>() + row * vocab;
      const double draw = random_[prompt_of[row]].NextUnit() * begin[vocab - 1];
      const auto at = std::upper_bound(begin, begin + vocab, draw) - begin;
      picked[row] = static_cast<int32_t>(std::min<int64_t>(at, vocab - 1));
    }
    return picked;
  }

 private:
  const double temperature_;
  std::vector<SplitMix64> random_;
};

// Generates for the prompts of one group, which share a cache.
class GroupDecoder {
 public:
  GroupDecoder(const ModelWeights& weights, const LoraRuntime& lora, const PackedWeights* packed,
               const GenerateOptions& options, std::span<const std::vector<int32_t>> prompts,
               std::span<const size_t> group, Sampler& sampler, TokenLists& results)
      : weights_(weights),
        lora_(lora),
        packed_(packed),
        options_(options),
        prompts_(prompts),
        sampler_(sampler),
        results_(results),
        cache_(weights, static_cast<int64_t>(group.size()),
               static_cast<int64_t>(prompts[group.back()].size()) + options.max_new_tokens) {
    for (size_t i = 0; i < group.size(); ++i) {
      slots_.push_back(static_cast<int64_t>(i));
      lengths_.push_back(static_cast<int64_t>(prompts[group[i]].size()));
      prompt_of_.push_back(group[i]);
    }
  }

  void Run() {
    Append(sampler_.Pick(Prefill(), prompt_of_));
    while (!prompt_of_.empty()) Append(sampler_.Pick(DecodeStep(), prompt_of_));
  }

 private:
  // Logits after every prompt; fills the cache.
  at::Tensor Prefill() {
    std::vector<std::span<const int32_t>> prompts;
    for (size_t prompt : prompt_of_) prompts.emplace_back(prompts_[prompt]);
    if (!weights_.device.is_cpu()) return PrefillWhole(prompts);
    const PrefillPlan plan = PlanPrefill(prompts);
    return PaysOff(plan) ? PrefillShared(plan) : PrefillWhole(prompts);
  }

  at::Tensor PrefillShared(const PrefillPlan& plan) {
    const at::Tensor x = Extend(plan.ids, plan.positions, plan.rows);
    cache_.ReadBeginningsFrom(plan.beginnings);
    return HeadLogits(weights_, x.index_select(0, IndexTensor(plan.last, weights_.device)),
                      packed_);
  }

  at::Tensor PrefillWhole(std::span<const std::span<const int32_t>> prompts) {
    const PackedTokens tokens = PackTokens(prompts, weights_.device);
    std::vector<CachePlace> places;
    std::vector<int64_t> last;
    for (size_t i = 0; i < prompts.size(); ++i) {
      for (int64_t p = 0; p < static_cast<int64_t>(prompts[i].size()); ++p) {
        places.push_back({tokens.offsets[i] + p, slots_[i], p});
      }
      last.push_back(tokens.offsets[i + 1] - 1);
    }
    ForwardHooks hooks;
    hooks.packed = packed_;
    hooks.on_qkv = [&](int64_t layer, const at::Tensor& qkv) { cache_.Store(layer, qkv, places); };
    const at::Tensor x = RunLayers(weights_, lora_, tokens, hooks);
    return HeadLogits(weights_, x.index_select(0, IndexTensor(last, weights_.device)), packed_);
  }

  // Logits after the newest token of every sequence that still runs.
  at::Tensor DecodeStep() {
    CacheRows rows;
    rows.slots = slots_;
    for (size_t i = 0; i < slots_.size(); ++i) {
      rows.lengths.push_back(lengths_[i] + 1);
      rows.places.push_back({static_cast<int64_t>(i), slots_[i], lengths_[i]});
    }
    const at::Tensor x = Extend(newest_, lengths_, rows);
    for (int64_t& length : lengths_) ++length;
    return HeadLogits(weights_, x, packed_);
  }

  // New tokens at their positions; returns the residual stream.
  at::Tensor Extend(const std::vector<int64_t>& ids, const std::vector<int64_t>& positions,
                    const CacheRows& rows) {
    PackedTokens tokens;
    tokens.ids = IndexTensor(ids, weights_.device);
    tokens.positions = IndexTensor(positions, weights_.device);
    ForwardHooks hooks;
    hooks.packed = packed_;
    hooks.attention = [&](int64_t layer, const at::Tensor& qkv) {
      return cache_.Extend(layer, qkv, rows);
    };
    return RunLayers(weights_, lora_, tokens, hooks);
  }

  // Takes the new token of every running sequence and drops those that end.
  void Append(const std::vector<int32_t>& picked) {
    newest_.assign(picked.begin(), picked.end());
    size_t kept = 0;
    for (size_t row = 0; row < picked.size(); ++row) {
      std::vector<int32_t>& result = results_[prompt_of_[row]];
      const bool stop = std::find(options_.stop_ids.begin(), options_.stop_ids.end(),
                                  picked[row]) != options_.stop_ids.end();
      if (!stop || options_.keep_stop_id) result.push_back(picked[row]);
      if (stop || static_cast<int64_t>(result.size()) >= options_.max_new_tokens) continue;
      slots_[kept] = slots_[row];
      lengths_[kept] = lengths_[row];
      prompt_of_[kept] = prompt_of_[row];
      newest_[kept] = picked[row];
      ++kept;
    }
    slots_.resize(kept);
    lengths_.resize(kept);
    prompt_of_.resize(kept);
    newest_.resize(kept);
  }

  const ModelWeights& weights_;
  const LoraRuntime& lora_;
  const PackedWeights* const packed_;
  const GenerateOptions& options_;
  const std::span<const std::vector<int32_t>> prompts_;
  Sampler& sampler_;
  TokenLists& results_;
  KvCache cache_;
  // One entry per running sequence.
  std::vector<int64_t> slots_;
  std::vector<int64_t> lengths_;  // tokens in the cache
  std::vector<size_t> prompt_of_;
  std::vector<int64_t> newest_;  // picked, not yet in the cache
};

// Laying out the weights costs about as much as two forward passes of 64 tokens.
constexpr int64_t kTokensWorthPacking = 512;

absl::Status Validate(const ModelConfig& config, std::span<const std::vector<int32_t>> prompts,
                      const GenerateOptions& options) {
  if (options.max_new_tokens < 1) {
    return absl::InvalidArgumentError("max_new_tokens: must be at least 1");
  }
  if (options.max_batch < 1) return absl::InvalidArgumentError("max_batch: must be at least 1");
  if (options.max_cache_tokens < 1) {
    return absl::InvalidArgumentError("max_cache_tokens: must be at least 1");
  }
  if (!std::isfinite(options.temperature) || options.temperature < 0.0) {
    return absl::InvalidArgumentError("temperature: must be a finite number, 0 or above");
  }
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::string name = absl::StrCat("prompt ", i);
    WT_RETURN_IF_ERROR(CheckTokens(prompts[i], config, name));
    if (static_cast<int64_t>(prompts[i].size()) + options.max_new_tokens > config.max_positions) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": ", prompts[i].size(), " tokens and ", options.max_new_tokens,
                       " new ones do not fit the model's context of ", config.max_positions));
    }
  }
  return absl::OkStatus();
}

// One call of Generate.
class Generation {
 public:
  Generation(const ModelWeights& weights, LoraRuntime lora,
             std::span<const std::vector<int32_t>> prompts, const GenerateOptions& options)
      : weights_(weights),
        lora_(std::move(lora)),
        options_(options),
        prompts_(prompts),
        sampler_(options, prompts.size()),
        results_(prompts.size()) {
    if (static_cast<int64_t>(prompts.size()) * options.max_new_tokens >= kTokensWorthPacking) {
      packed_ = PackedWeights::Of(weights);
    }
  }

  absl::StatusOr<TokenLists> Run() {
    std::vector<size_t> order(prompts_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return prompts_[a].size() < prompts_[b].size(); });
    for (size_t begin = 0; begin < order.size();) {
      const std::span<const size_t> group = NextGroup(std::span(order).subspan(begin));
      GroupDecoder(weights_, lora_, packed_ ? &*packed_ : nullptr, options_, prompts_, group,
                   sampler_, results_)
          .Run();
      begin += group.size();
      if (options_.progress && !options_.progress(static_cast<int64_t>(begin))) {
        return absl::CancelledError("generation was cancelled");
      }
    }
    return std::move(results_);
  }

 private:
  // The first of `left`, which come in rising length, that may be decoded together.
  std::span<const size_t> NextGroup(std::span<const size_t> left) const {
    size_t count = 1;
    while (count < left.size() && static_cast<int64_t>(count) < options_.max_batch) {
      const auto longest = static_cast<int64_t>(prompts_[left[count]].size());
      const auto grown = static_cast<int64_t>(count) + 1;
      if (grown * (longest + options_.max_new_tokens) > options_.max_cache_tokens) break;
      ++count;
    }
    return left.first(count);
  }

  const ModelWeights& weights_;
  const LoraRuntime lora_;
  const GenerateOptions& options_;
  const std::span<const std::vector<int32_t>> prompts_;
  std::optional<PackedWeights> packed_;
  Sampler sampler_;
  TokenLists results_;
};

}  // namespace

absl::StatusOr<TokenLists> Generate(const DecoderModel& model, ActiveAdapters adapters,
                                    std::span<const std::vector<int32_t>> prompts,
                                    const GenerateOptions& options) {
  WT_RETURN_IF_ERROR(Validate(model.config(), prompts, options));
  return AtTorchBoundary("generation", [&]() -> absl::StatusOr<TokenLists> {
    const c10::InferenceMode guard;
    WT_ASSIGN_OR_RETURN(LoraRuntime lora, MakeLoraRuntime(*model.weights(), adapters));
    return Generation(*model.weights(), std::move(lora), prompts, options).Run();
  });
}

}  // namespace wardtune
