#include "worker/model/generator.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/model/decoder_forward.h"
#include "worker/model/kv_cache.h"
#include "worker/model/seeded_random.h"
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
      const at::Tensor best = at::argmax(logits, 1).cpu();
      for (size_t row = 0; row < picked.size(); ++row) {
        picked[row] = static_cast<int32_t>(best.const_data_ptr<int64_t>()[row]);
      }
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
  GroupDecoder(const ModelWeights& weights, const LoraRuntime& lora, const GenerateOptions& options,
               std::span<const std::vector<int32_t>> prompts, std::span<const size_t> group,
               Sampler& sampler, TokenLists& results)
      : weights_(weights),
        lora_(lora),
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
    std::vector<std::span<const int32_t>> views;
    for (size_t prompt : prompt_of_) views.emplace_back(prompts_[prompt]);
    const PackedTokens tokens = PackTokens(views, weights_.device);
    ForwardHooks hooks;
    hooks.on_qkv = [&](int64_t layer, const at::Tensor& qkv) {
      cache_.StorePrompts(layer, qkv, tokens.offsets);
    };
    const at::Tensor x = RunLayers(weights_, lora_, tokens, hooks);
    std::vector<int64_t> last(tokens.offsets.begin() + 1, tokens.offsets.end());
    for (int64_t& row : last) --row;
    return HeadLogits(weights_, x.index_select(0, at::tensor(last, at::kLong).to(weights_.device)));
  }

  // Logits after the newest token of every sequence that still runs.
  at::Tensor DecodeStep() {
    PackedTokens tokens;
    tokens.ids = at::tensor(newest_, at::kLong).to(weights_.device);
    tokens.positions = at::tensor(lengths_, at::kLong).to(weights_.device);
    ForwardHooks hooks;
    hooks.attention = [&](int64_t layer, const at::Tensor& qkv) {
      return cache_.Extend(layer, qkv, slots_, lengths_);
    };
    const at::Tensor x = RunLayers(weights_, lora_, tokens, hooks);
    for (int64_t& length : lengths_) ++length;
    return HeadLogits(weights_, x);
  }

  // Takes the new token of every running sequence and drops those that end.
  void Append(const std::vector<int32_t>& picked) {
    newest_.assign(picked.begin(), picked.end());
    size_t kept = 0;
    for (size_t row = 0; row < picked.size(); ++row) {
      std::vector<int32_t>& result = results_[prompt_of_[row]];
      const bool stop = std::find(options_.stop_ids.begin(), options_.stop_ids.end(),
                                  picked[row]) != options_.stop_ids.end();
      if (!stop) result.push_back(picked[row]);
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

absl::Status Validate(const ModelConfig& config, std::span<const std::vector<int32_t>> prompts,
                      const GenerateOptions& options) {
  if (options.max_new_tokens < 1) {
    return absl::InvalidArgumentError("max_new_tokens: must be at least 1");
  }
  if (options.max_batch < 1) return absl::InvalidArgumentError("max_batch: must be at least 1");
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

}  // namespace

absl::StatusOr<TokenLists> Generate(const DecoderModel& model, ActiveAdapters adapters,
                                    std::span<const std::vector<int32_t>> prompts,
                                    const GenerateOptions& options) {
  WT_RETURN_IF_ERROR(Validate(model.config(), prompts, options));
  return AtTorchBoundary("generation", [&]() -> absl::StatusOr<TokenLists> {
    const c10::InferenceMode guard;
    const ModelWeights& weights = *model.weights();
    WT_ASSIGN_OR_RETURN(const LoraRuntime lora, MakeLoraRuntime(weights, adapters));
    TokenLists results(prompts.size());
    Sampler sampler(options, prompts.size());
    std::vector<size_t> order(prompts.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return prompts[a].size() < prompts[b].size(); });
    const size_t step = static_cast<size_t>(options.max_batch);
    for (size_t begin = 0; begin < order.size(); begin += step) {
      const size_t count = std::min(step, order.size() - begin);
      GroupDecoder(weights, lora, options, prompts, std::span(order).subspan(begin, count), sampler,
                   results)
          .Run();
      if (options.progress && !options.progress(static_cast<int64_t>(begin + count))) {
        return absl::CancelledError("generation was cancelled");
      }
    }
    return results;
  });
}

}  // namespace wardtune
