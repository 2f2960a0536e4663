#include "worker/model/tensor_ops.h"

#include <ATen/Parallel.h>

#include <utility>

#include "worker/model/elementwise_kernels.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

template <typename T>
T* Data(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

// Calls f(T{}) with the element type of a CPU tensor.
template <typename F>
void WithElementType(const at::Tensor& tensor, F f) {
  if (tensor.scalar_type() == at::kFloat) {
    f(float{});
  } else {
    TORCH_CHECK(tensor.scalar_type() == at::kBFloat16, "fp32 or bf16 expected");
    f(Bf16Bits{});
  }
}

// Splits rows so that a piece holds about 16k elements: enough to pay for waking a thread.
template <typename F>
void ParallelRows(int64_t rows, int64_t row_length, F f) {
  at::parallel_for(0, rows, std::max<int64_t>(1, 16384 / row_length), f);
}

// Cosine, sine broadcast over heads, and the two halves of every rotated head, in fp32.
void ApplyRopeGeneric(at::Tensor& x, const RopeTables& tables, int64_t heads, int64_t head_dim,
                      double direction) {
  at::Tensor view = x.narrow(1, 0, heads * head_dim).view({x.size(0), heads, head_dim});
  const at::Tensor full = view.to(at::kFloat);
  const at::Tensor lo = full.narrow(2, 0, head_dim / 2);
  const at::Tensor hi = full.narrow(2, head_dim / 2, head_dim / 2);
  const at::Tensor c = tables.cos.unsqueeze(1);
  const at::Tensor s = tables.sin.unsqueeze(1) * direction;
  view.copy_(at::cat({lo * c - hi * s, hi * c + lo * s}, 2));
}

}  // namespace

NormResult AddRmsNorm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight,
                      double eps, at::Tensor y) {
  NormResult result;
  if (!x.is_cpu()) {
    result.sum = delta.defined() ? x + delta : x;
    const at::Tensor full = result.sum.to(at::kFloat);
    const at::Tensor r = (full.square().mean(-1, true) + eps).rsqrt();
    result.y = (full * r * weight).to(x.scalar_type());
    result.inv_rms = r.squeeze(-1);
    return result;
  }
  const int64_t rows = x.size(0);
  const int64_t h = x.size(1);
  result.sum = delta.defined() ? at::empty_like(x) : x;
  result.y = y.defined() ? std::move(y) : at::empty_like(x);
  result.inv_rms = at::empty({rows}, at::kFloat);
  WithElementType(x, [&]<typename T>(T) {
    const auto kernel = BestCpuKernels().of<T>().add_rms_norm;
    const T* d = delta.defined() ? Data<T>(delta) : nullptr;
    ParallelRows(rows, h, [&](int64_t begin, int64_t end) {
      kernel(Data<T>(x), d, Data<float>(weight), static_cast<float>(eps), Data<T>(result.sum),
             Data<T>(result.y), Data<float>(result.inv_rms), begin, end, h);
    });
  });
  return result;
}

void AddRmsNormGradient(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                        const at::Tensor& inv_rms, at::Tensor& dx) {
  const int64_t h = x.size(1);
  if (!x.is_cpu()) {
    const at::Tensor full = x.to(at::kFloat);
    const at::Tensor g = dy.to(at::kFloat) * weight;
    const at::Tensor r = inv_rms.unsqueeze(-1);
    const at::Tensor shared = (g * full).sum(-1, true) * r.square() / static_cast<double>(h);
    dx.add_((r * (g - full * shared)).to(dx.scalar_type()));
    return;
  }
  WithElementType(x, [&]<typename T>(T) {
    const auto kernel = BestCpuKernels().of<T>().rms_norm_backward;
    ParallelRows(x.size(0), h, [&](int64_t begin, int64_t end) {
      kernel(Data<T>(dy), Data<T>(x), Data<float>(weight), Data<float>(inv_rms), Data<T>(dx), begin,
             end, h);
    });
  });
}

RopeTables MakeRopeTables(const RopeFrequencies& rope, const at::Tensor& positions) {
  const at::Tensor inv_freq =
      at::from_blob(const_cast<float*>(rope.inv_freq.data()),
                    {static_cast<int64_t>(rope.inv_freq.size())}, at::kFloat)
          .to(positions.device(), /*non_blocking=*/false, /*copy=*/true);
  const at::Tensor angles = positions.to(at::kFloat).unsqueeze(1) * inv_freq.unsqueeze(0);
  return {(angles.cos() * rope.amplitude).contiguous(),
          (angles.sin() * rope.amplitude).contiguous()};
}

void ApplyRope(at::Tensor& x, const RopeTables& tables, int64_t heads, int64_t head_dim,
               bool inverse) {
  if (!x.is_cpu()) {
    ApplyRopeGeneric(x, tables, heads, head_dim, inverse ? -1.0 : 1.0);
    return;
  }
  WithElementType(x, [&]<typename T>(T) {
    const auto kernel = BestCpuKernels().of<T>().rope;
    ParallelRows(x.size(0), heads * head_dim, [&](int64_t begin, int64_t end) {
      kernel(Data<T>(x), x.size(1), Data<float>(tables.cos), Data<float>(tables.sin),
             inverse ? -1.0f : 1.0f, heads, head_dim, begin, end);
    });
  });
}

at::Tensor SwiGlu(const at::Tensor& gate_up, at::Tensor act) {
  const int64_t h = gate_up.size(1) / 2;
  if (!gate_up.is_cpu()) {
    return at::silu(gate_up.narrow(1, 0, h)) * gate_up.narrow(1, h, h);
  }
  if (!act.defined()) act = at::empty({gate_up.size(0), h}, gate_up.options());
  WithElementType(gate_up, [&]<typename T>(T) {
    const auto kernel = BestCpuKernels().of<T>().swiglu;
    ParallelRows(gate_up.size(0), h, [&](int64_t begin, int64_t end) {
      kernel(Data<T>(gate_up), Data<T>(act), begin, end, h);
    });
  });
  return act;
}

void SwiGluGradient(at::Tensor& gate_up, at::Tensor& d_act) {
  const int64_t h = d_act.size(1);
  if (!gate_up.is_cpu()) {
    const at::Tensor gate = gate_up.narrow(1, 0, h).to(at::kFloat);
    const at::Tensor up = gate_up.narrow(1, h, h).to(at::kFloat);
    const at::Tensor da = d_act.to(at::kFloat);
    const at::Tensor sig = at::sigmoid(gate);
    const at::Tensor silu = gate * sig;
    gate_up.copy_(at::cat({da * up * (sig + silu * (1.0 - sig)), da * silu}, 1));
    d_act.copy_(silu * up);
    return;
  }
  WithElementType(gate_up, [&]<typename T>(T) {
    const auto kernel = BestCpuKernels().of<T>().swiglu_backward;
    ParallelRows(gate_up.size(0), h, [&](int64_t begin, int64_t end) {
      kernel(Data<T>(gate_up), Data<T>(d_act), begin, end, h);
    });
  });
}

at::Tensor CrossEntropyInPlace(at::Tensor& logits, const at::Tensor& targets, double weight) {
  if (!logits.is_cpu()) {
    const at::Tensor log_p = at::log_softmax(logits, -1, at::kFloat);
    const at::Tensor index = targets.unsqueeze(1);
    const at::Tensor loss = log_p.gather(1, index).squeeze(1).neg();
    at::Tensor gradient = log_p.exp();
    gradient.scatter_add_(1, index, at::full_like(index, -1, gradient.options()));
    logits.copy_(gradient * weight);
    return loss;
  }
  const int64_t vocab = logits.size(1);
  at::Tensor loss = at::empty({logits.size(0)}, at::kFloat);
  WithElementType(logits, [&]<typename T>(T) {
    const auto kernel = BestCpuKernels().of<T>().cross_entropy;
    ParallelRows(logits.size(0), vocab, [&](int64_t begin, int64_t end) {
      kernel(Data<T>(logits), Data<int64_t>(targets), static_cast<float>(weight), Data<float>(loss),
             begin, end, vocab);
    });
  });
  return loss;
}

at::Tensor KlDivergenceInPlace(at::Tensor& logits, const at::Tensor& teacher, double weight) {
  if (!logits.is_cpu()) {
    const at::Tensor log_q = at::log_softmax(logits, -1, at::kFloat);
    const at::Tensor log_p = at::log_softmax(teacher, -1, at::kFloat);
    const at::Tensor p = log_p.exp();
    logits.copy_((log_q.exp() - p) * weight);
    return (p * (log_p - log_q)).sum(-1);
  }
  const int64_t vocab = logits.size(1);
  at::Tensor loss = at::empty({logits.size(0)}, at::kFloat);
  WithElementType(logits, [&]<typename T>(T) {
    const auto kernel = BestCpuKernels().of<T>().kl_divergence;
    ParallelRows(logits.size(0), vocab, [&](int64_t begin, int64_t end) {
      kernel(Data<T>(logits), Data<T>(teacher), static_cast<float>(weight), Data<float>(loss),
             begin, end, vocab);
    });
  });
  return loss;
}

at::Tensor IndexTensor(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

std::vector<int64_t> ArgMaxRows(const at::Tensor& x) {
  std::vector<int64_t> best(static_cast<size_t>(x.size(0)));
  if (!x.is_cpu()) {
    const at::Tensor places = at::argmax(x, 1).cpu();
    std::copy_n(places.const_data_ptr<int64_t>(), best.size(), best.begin());
    return best;
  }
  const int64_t n = x.size(1);
  WithElementType(x, [&]<typename T>(T) {
    const auto kernel = BestCpuKernels().of<T>().arg_max;
    ParallelRows(x.size(0), n, [&](int64_t begin, int64_t end) {
      kernel(Data<T>(x), best.data(), begin, end, n);
    });
  });
  return best;
}

}  // namespace wardtune
