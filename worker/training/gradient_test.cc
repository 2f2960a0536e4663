// The hand-written backward pass against LibTorch's autograd on a plain decoder written for this
// test, fp32, for every LoRA tensor and every projection's weight of every architecture.
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/status_matchers.h"
#include "worker/model/decoder_forward.h"
#include "worker/model/lora_runtime.h"
#include "worker/model/model_weights.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/model/torch_ops.h"
#include "worker/training/decoder_backward.h"
#include "worker/training/supervised_loss.h"

namespace wardtune {
namespace {

// A copy that autograd may save: loaded weights are inference tensors.
ModelWeights DifferentiableCopy(ModelWeights weights) {
  const auto copy = [](at::Tensor& tensor) {
    if (tensor.defined()) tensor = tensor.clone();
  };
  for (at::Tensor* tensor : {&weights.embedding, &weights.final_norm, &weights.head}) copy(*tensor);
  for (LayerWeights& layer : weights.layers) {
    for (at::Tensor* tensor :
         {&layer.input_norm, &layer.post_attention_norm, &layer.q_norm, &layer.k_norm}) {
      copy(*tensor);
    }
    for (LinearWeights& linear : layer.linear) {
      copy(linear.weight);
      copy(linear.bias);
    }
  }
  return weights;
}

// The last two begin as the third does.
std::vector<std::vector<int32_t>> Sequences() {
  std::vector<std::vector<int32_t>> sequences;
  for (int32_t length : {9, 2, 14, 13, 10}) {
    std::vector<int32_t> sequence;
    for (int32_t i = 0; i < length; ++i) sequence.push_back((length * 17 + i * 31) % 67);
    sequences.push_back(sequence);
  }
  std::copy_n(sequences[2].begin(), 7, sequences[3].begin());
  std::copy_n(sequences[2].begin(), 5, sequences[4].begin());
  return sequences;
}
std::vector<SharedPrefix> Prefixes() { return {{0, 0}, {0, 0}, {0, 0}, {2, 7}, {2, 5}}; }

// A decoder in plain differentiable operations, one sequence at a time.
class ReferenceDecoder {
 public:
  ReferenceDecoder(const ModelWeights& weights, const LoraRuntime& lora)
      : weights_(DifferentiableCopy(weights)), config_(weights_.config), lora_(lora) {}

  // Mean negative log-likelihood of the tokens after what each sequence shares, and its first.
  at::Tensor Loss(const std::vector<std::vector<int32_t>>& sequences) const {
    std::vector<at::Tensor> losses;
    for (size_t s = 0; s < sequences.size(); ++s) {
      const std::vector<int32_t>& sequence = sequences[s];
      const int64_t shared = Prefixes()[s].tokens;
      const std::vector<int64_t> ids(sequence.begin(), sequence.end());
      const at::Tensor all = at::tensor(ids, at::kLong);
      const int64_t n = all.size(0);
      const at::Tensor log_p = at::log_softmax(Logits(all), -1).narrow(0, shared, n - 1 - shared);
      losses.push_back(
          log_p.gather(1, all.narrow(0, 1 + shared, n - 1 - shared).unsqueeze(1)).neg());
    }
    return at::cat(losses, 0).mean();
  }

  // The copy that Loss differentiates.
  const ModelWeights& weights() const { return weights_; }

 private:
  at::Tensor Norm(const at::Tensor& x, const at::Tensor& weight) const {
    return x * (x.square().mean(-1, true) + config_.rms_norm_eps).rsqrt() * weight;
  }

  at::Tensor Linear(const at::Tensor& x, size_t layer, FusedLinear which) const {
    const LinearWeights& linear = weights_.layers[layer].at(which);
    at::Tensor y = at::matmul(x, linear.weight.t());
    if (linear.bias.defined()) y = y + linear.bias;
    const FusedLora* lora = lora_.at(layer, which);
    return lora == nullptr ? y : y + at::matmul(at::matmul(x, lora->a.t()), lora->b.t());
  }

  at::Tensor Rotate(const at::Tensor& x) const {  // [n, heads, d]
    const at::Tensor positions = at::arange(x.size(0), at::kLong);
    const RopeTables tables = MakeRopeTables(weights_.rope, positions);
    const at::Tensor c = at::cat({tables.cos, tables.cos}, 1).unsqueeze(1);
    const at::Tensor s = at::cat({tables.sin, tables.sin}, 1).unsqueeze(1);
    const int64_t half = x.size(2) / 2;
    const at::Tensor turned = at::cat({x.narrow(2, half, half).neg(), x.narrow(2, 0, half)}, 2);
    return x * c + turned * s;
  }

  at::Tensor Attend(const at::Tensor& qkv, const LayerWeights& layer) const {
    const int64_t n = qkv.size(0);
    const int64_t d = config_.head_dim;
    const int64_t heads = config_.num_heads;
    const int64_t kv_heads = config_.num_kv_heads;
    at::Tensor q = qkv.narrow(1, 0, heads * d).reshape({n, heads, d});
    at::Tensor k = qkv.narrow(1, heads * d, kv_heads * d).reshape({n, kv_heads, d});
    at::Tensor v = qkv.narrow(1, (heads + kv_heads) * d, kv_heads * d).reshape({n, kv_heads, d});
    if (config_.qk_norm) {
      q = Norm(q, layer.q_norm);
      k = Norm(k, layer.k_norm);
    }
    q = Rotate(q).transpose(0, 1);
    k = Rotate(k).transpose(0, 1).repeat_interleave(heads / kv_heads, 0);
    v = v.transpose(0, 1).repeat_interleave(heads / kv_heads, 0);
    at::Tensor visible = at::ones({n, n}, at::kBool).tril();
    if (config_.sliding_window > 0) visible = visible.triu(1 - config_.sliding_window);
    const at::Tensor scores = (at::matmul(q, k.transpose(1, 2)) / std::sqrt(static_cast<double>(d)))
                                  .masked_fill(visible.logical_not(), -1e30);
    return at::matmul(at::softmax(scores, -1), v).transpose(0, 1).reshape({n, heads * d});
  }

  at::Tensor Logits(const at::Tensor& ids) const {
    at::Tensor x = weights_.embedding.index_select(0, ids);
    const int64_t mid = config_.intermediate_size;
    for (size_t l = 0; l < weights_.layers.size(); ++l) {
      const LayerWeights& layer = weights_.layers[l];
      const at::Tensor qkv = Linear(Norm(x, layer.input_norm), l, FusedLinear::kQkv);
      x = x + Linear(Attend(qkv, layer), l, FusedLinear::kO);
      const at::Tensor gate_up =
          Linear(Norm(x, layer.post_attention_norm), l, FusedLinear::kGateUp);
      const at::Tensor act = at::silu(gate_up.narrow(1, 0, mid)) * gate_up.narrow(1, mid, mid);
      x = x + Linear(act, l, FusedLinear::kDown);
    }
    return at::matmul(Norm(x, weights_.final_norm), weights_.head.t());
  }

  const ModelWeights weights_;
  const ModelConfig& config_;
  const LoraRuntime& lora_;
};

// An adapter whose B is not zero, so that every gradient flows.
LoraAdapter BusyAdapter(const ModelConfig& config, const std::vector<Projection>& targets) {
  LoraAdapter adapter = *InitLora(config, {.rank = 3, .alpha = 6.0, .targets = targets}, 11);
  for (auto& layer : adapter.layers) {
    for (Projection p : targets) {
      LoraMatrices& m = layer[static_cast<int>(p)];
      m.b =
          testing::FormulaWeights(std::string(ProjectionName(p)), static_cast<int64_t>(m.b.size()));
    }
  }
  return adapter;
}

struct Result {
  double loss = 0.0;
  LoraGradients gradients;
  WeightGradients weight_gradients;
  std::vector<at::Tensor> attention_gradients;
};

// Forward and backward of the engine over the packed sequences, all tokens supervised but their
// first and what they share. `shifts` are added to the attention's outputs, per layer, if there are
// any.
Result RunEngine(const ModelWeights& weights, const LoraRuntime& lora,
                 const std::vector<std::vector<int32_t>>& sequences,
                 std::span<const at::Tensor> shifts = {}) {
  const c10::InferenceMode guard;
  std::vector<std::span<const int32_t>> views(sequences.begin(), sequences.end());
  const PackedTokens tokens = PackTokens(views, at::kCPU, Prefixes());
  std::vector<LayerActivations> activations;
  ForwardHooks hooks;
  hooks.activations = &activations;
  hooks.attention_shifts = shifts;
  const at::Tensor x = RunLayers(weights, lora, tokens, hooks);
  std::vector<int64_t> rows;
  std::vector<int64_t> targets;
  for (size_t s = 0; s < sequences.size(); ++s) {
    for (size_t i = 1 + Prefixes()[s].tokens; i < sequences[s].size(); ++i) {
      rows.push_back(tokens.offsets[s] + static_cast<int64_t>(i) - 1);
      targets.push_back(sequences[s][i]);
    }
  }
  const double count = static_cast<double>(rows.size());
  at::Tensor d_x = at::zeros_like(x);
  Result result;
  result.loss = CrossEntropyLoss(weights, x, at::tensor(rows, at::kLong),
                                 at::tensor(targets, at::kLong), 1.0 / count, d_x) /
                count;
  result.gradients = LoraGradients::ZerosLike(lora);
  const LoraSegment all{0, x.size(0), &lora};
  LoraGradients* const gradients[] = {&result.gradients};
  result.weight_gradients = WeightGradients::ZerosLike(weights);
  BackwardLayers(weights, {&all, 1}, tokens, activations, d_x, gradients,
                 {.weights = &result.weight_gradients, .attention = &result.attention_gradients});
  return result;
}

// Largest difference relative to the largest reference value.
double RelativeError(const at::Tensor& actual, const at::Tensor& expected) {
  return (actual - expected).abs().max().item<double>() /
         std::max(1e-12, expected.abs().max().item<double>());
}

void ExpectGradientsMatch(const DecoderModel& model, const std::vector<Projection>& targets) {
  const ModelWeights& weights = *model.weights();
  const LoraAdapter adapter = BusyAdapter(weights.config, targets);
  const LoraAdapter* active = &adapter;
  auto lora = MakeLoraRuntime(weights, {&active, 1});
  ASSERT_TRUE(lora.ok()) << lora.status();
  const Result engine = RunEngine(weights, *lora, Sequences());

  for (auto& layer : lora->layers) {
    for (FusedLora& fused : layer) {
      if (!fused.defined()) continue;
      fused.a.requires_grad_(true);
      fused.b.requires_grad_(true);
    }
  }
  const ReferenceDecoder reference(weights, *lora);
  for (const LayerWeights& layer : reference.weights().layers) {
    for (const LinearWeights& linear : layer.linear) linear.weight.requires_grad_(true);
  }
  const at::Tensor loss = reference.Loss(Sequences());
  loss.backward();
  EXPECT_NEAR(engine.loss, loss.item<double>(), 1e-5);

  int compared = 0;
  for (int64_t l = 0; l < weights.config.num_layers; ++l) {
    for (int which = 0; which < kFusedLinearCount; ++which) {
      const auto linear = static_cast<FusedLinear>(which);
      EXPECT_LT(RelativeError(engine.weight_gradients.layers[l][which],
                              reference.weights().layers[l].at(linear).weight.grad()),
                1e-4)
          << "weight " << which << " layer " << l;
      for (const LoraBlock& block : BlocksOf(weights.config, adapter.spec, linear)) {
        const FusedLora& fused = lora->layers[l][which];
        const FactorGradients& ours = engine.gradients.layers[l][which];
        const auto a = [&](const at::Tensor& t) {
          return t.narrow(0, block.rank_begin, block.rank);
        };
        const std::string name(ProjectionName(block.projection));
        EXPECT_LT(RelativeError(a(ours.a), a(fused.a.grad())), 1e-4) << name << ".A layer " << l;
        EXPECT_LT(
            RelativeError(ours.BlockOfB(block), FusedLora{.b = fused.b.grad()}.BlockOfB(block)),
            1e-4)
            << name << ".B layer " << l;
        compared += 2;
      }
    }
  }
  EXPECT_EQ(compared, 2 * weights.config.num_layers * static_cast<int64_t>(targets.size()));
}

const std::vector<Projection> kAll{kAllProjections.begin(), kAllProjections.end()};

TEST(GradientTest, Llama) {
  ExpectGradientsMatch(testing::LoadTinyModel("g_llama", testing::TinyConfig("LlamaForCausalLM")),
                       kAll);
}

TEST(GradientTest, MistralWithASlidingWindow) {
  ExpectGradientsMatch(
      testing::LoadTinyModel("g_mistral",
                             testing::TinyConfig("MistralForCausalLM", "\"sliding_window\": 5")),
      kAll);
}

TEST(GradientTest, Qwen2WithBiases) {
  ExpectGradientsMatch(
      testing::LoadTinyModel(
          "g_qwen2", testing::TinyConfig("Qwen2ForCausalLM", "\"tie_word_embeddings\": true")),
      kAll);
}

TEST(GradientTest, Qwen3WithQueryKeyNorm) {
  ExpectGradientsMatch(testing::LoadTinyModel(
                           "g_qwen3", testing::TinyConfig("Qwen3ForCausalLM", "\"head_dim\": 16")),
                       kAll);
}

// Two jobs' gradients out of one pass: one trains beside a frozen adapter, the other adapts some
// projections; a row between them runs on the plain weights. Rows end inside of what products of
// our own multiply together.
std::vector<LoraGradients> TwoJobs(const DecoderModel& model) {
  const c10::InferenceMode guard;
  const ModelWeights& weights = *model.weights();
  const LoraAdapter first = BusyAdapter(weights.config, kAll);
  LoraAdapter frozen = BusyAdapter(weights.config, kAll);
  for (auto& layer : frozen.layers) std::swap(layer[0].a[0], layer[0].a[1]);
  const LoraAdapter second =
      BusyAdapter(weights.config, {Projection::kQ, Projection::kV, Projection::kUp});
  const LoraAdapter* const beside[] = {&first, &frozen};
  const LoraAdapter* const alone[] = {&second};
  const LoraRuntime with_frozen = *MakeLoraRuntime(weights, beside);
  const LoraRuntime without = *MakeLoraRuntime(weights, alone);
  std::vector<LoraGradients> gradients;
  gradients.push_back(
      LoraGradients::ZerosLike(FactorsOfFirst(with_frozen, weights.config, first.spec)));
  gradients.push_back(LoraGradients::ZerosLike(without));

  std::vector<std::vector<int32_t>> sequences;
  for (int32_t length : {41, 9, 37}) {
    auto& sequence = sequences.emplace_back();
    for (int32_t i = 0; i < length; ++i) sequence.push_back((length * 17 + i * 31) % 67);
  }
  const std::vector<std::span<const int32_t>> views(sequences.begin(), sequences.end());
  const PackedTokens tokens = PackTokens(views, at::kCPU);
  const LoraSegment segments[] = {{0, tokens.offsets[1], &with_frozen},
                                  {tokens.offsets[2], tokens.offsets[3], &without}};
  std::vector<LayerActivations> activations;
  const ForwardHooks hooks = {.activations = &activations};
  const at::Tensor x = RunLayers(weights, segments, tokens, hooks);
  const at::Tensor rows = at::arange(x.size(0), at::kLong);
  at::Tensor d_x = at::zeros_like(x);
  CrossEntropyLoss(weights, x, rows, tokens.ids, 1.0 / static_cast<double>(x.size(0)), d_x);
  LoraGradients* const into[] = {&gradients[0], &gradients[1]};
  BackwardLayers(weights, segments, tokens, activations, d_x, into);
  return gradients;
}

TEST(GradientTest, SeveralJobsInBfloat16AreNearFp32) {
  const std::string config = testing::TinyConfig("Qwen3ForCausalLM", "\"head_dim\": 16");
  const auto exact = TwoJobs(testing::LoadTinyModel("g_jobs", config));
  const auto rounded = TwoJobs(testing::LoadTinyModel("g_jobs16", config, ComputeType::kBfloat16));
  int compared = 0;
  for (size_t job = 0; job < exact.size(); ++job) {
    for (size_t l = 0; l < exact[job].layers.size(); ++l) {
      for (int which = 0; which < kFusedLinearCount; ++which) {
        const FactorGradients& expected = exact[job].layers[l][which];
        const FactorGradients& found = rounded[job].layers[l][which];
        if (!expected.defined()) continue;
        EXPECT_LT(RelativeError(found.a, expected.a), 0.05)
            << "A of job " << job << ", layer " << l << ", matrix " << which;
        EXPECT_LT(RelativeError(found.b, expected.b), 0.05)
            << "B of job " << job << ", layer " << l << ", matrix " << which;
        ++compared;
      }
    }
  }
  EXPECT_EQ(compared, 2 * (kFusedLinearCount + 2));
}

// Rows that are held and have not moved have no gradient; running it back cost as much as any
// other. What went forward is made unusable here, so that running it back would be seen.
TEST(GradientTest, ZerosAreNotRunBack) {
  const c10::InferenceMode guard;
  const DecoderModel model =
      testing::LoadTinyModel("g_zeros", testing::TinyConfig("LlamaForCausalLM"));
  const ModelWeights& weights = *model.weights();
  const LoraAdapter adapter = BusyAdapter(weights.config, kAll);
  const LoraAdapter* active = &adapter;
  const LoraRuntime lora = *MakeLoraRuntime(weights, {&active, 1});
  const std::vector<std::vector<int32_t>> sequences = Sequences();
  const PackedTokens tokens = PackTokens(
      std::vector<std::span<const int32_t>>(sequences.begin(), sequences.end()), at::kCPU);
  const auto largest_gradient = [&](double d_residual) {
    std::vector<LayerActivations> activations;
    const at::Tensor x = RunLayers(weights, lora, tokens, {.activations = &activations});
    for (LayerActivations& layer : activations) layer.gate_up.fill_(std::nan(""));
    LoraGradients sums = LoraGradients::ZerosLike(lora);
    LoraGradients* const gradients[] = {&sums};
    const LoraSegment all{0, x.size(0), &lora};
    BackwardLayers(weights, {&all, 1}, tokens, activations, at::full_like(x, d_residual),
                   gradients);
    EXPECT_TRUE(activations.empty());
    return sums.layers[0][0].a.abs().max().item<double>();
  };
  EXPECT_EQ(largest_gradient(0.0), 0.0);
  EXPECT_TRUE(std::isnan(largest_gradient(0.1)));

  // Whoever asks what reaches the attention gets an answer.
  std::vector<LayerActivations> activations;
  const at::Tensor x = RunLayers(weights, lora, tokens, {.activations = &activations});
  LoraGradients sums = LoraGradients::ZerosLike(lora);
  LoraGradients* const gradients[] = {&sums};
  const LoraSegment all{0, x.size(0), &lora};
  std::vector<at::Tensor> attention;
  BackwardLayers(weights, {&all, 1}, tokens, activations, at::zeros_like(x), gradients,
                 {.attention = &attention});
  EXPECT_EQ(static_cast<int64_t>(attention.size()), model.config().num_layers);
}

// Along the gradient of the attention's outputs the loss rises by the square of its norm.
TEST(GradientTest, AttentionOutputs) {
  const DecoderModel model =
      testing::LoadTinyModel("g_shift", testing::TinyConfig("LlamaForCausalLM"));
  const LoraAdapter adapter = BusyAdapter(model.config(), kAll);
  const LoraAdapter* active = &adapter;
  const auto lora = MakeLoraRuntime(*model.weights(), {&active, 1});
  ASSERT_TRUE(lora.ok()) << lora.status();
  const std::vector<at::Tensor> gradients =
      RunEngine(*model.weights(), *lora, Sequences()).attention_gradients;
  ASSERT_EQ(static_cast<int64_t>(gradients.size()), model.config().num_layers);
  for (size_t layer = 0; layer < gradients.size(); ++layer) {
    const double norm = gradients[layer].norm().item<double>();
    const auto loss_at = [&](double distance) {
      std::vector<at::Tensor> shifts;
      for (size_t l = 0; l < gradients.size(); ++l) {
        shifts.push_back(gradients[l] * (l == layer ? distance / norm : 0.0));
      }
      return RunEngine(*model.weights(), *lora, Sequences(), shifts).loss;
    };
    const double slope = (loss_at(0.05) - loss_at(-0.05)) / 0.1;
    EXPECT_NEAR(slope, norm, 0.01 * norm) << "layer " << layer;
  }
}

TEST(GradientTest, SomeProjectionsOnly) {
  ExpectGradientsMatch(testing::LoadTinyModel("g_some", testing::TinyConfig("LlamaForCausalLM")),
                       {Projection::kQ, Projection::kV, Projection::kUp});
}

}  // namespace
}  // namespace wardtune
