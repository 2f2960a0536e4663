// Compiled with avx512_bf16 where the compiler can; calls nothing of the standard library, for the
// reason that elementwise_kernels.inc gives.
#include "worker/model/cpu_features.h"
#include "worker/model/decode_attention.h"

#if defined(__AVX512BF16__)

#include <immintrin.h>

namespace wardtune {
namespace {

#include "worker/model/attention_layouts.inc"
// One key head of one sequence, and some of the query heads that share it.
struct Item {
  const Bf16Bits* query;   // [kHeads, head_dim]
  const Bf16Bits* keys;    // of token 0
  const Bf16Bits* values;  // of token 0
  Bf16Bits* out;           // [kHeads, head_dim]
  int64_t first;           // tokens [first, length) are seen
  int64_t length;
  int64_t step;  // from one token to the next
};

inline __m512bh Load32(const Bf16Bits* x) { return (__m512bh)_mm512_loadu_si512(x); }

template <int kHeads>
void Scores(const Item& item, int64_t head_dim, float* scores, int64_t stride) {
  for (int64_t j = item.first; j < item.length; ++j) {
    const Bf16Bits* key = item.keys + j * item.step;
    __m512 sums[kHeads];
    for (int h = 0; h < kHeads; ++h) sums[h] = _mm512_setzero_ps();
    for (int64_t i = 0; i < head_dim; i += 32) {
      const __m512bh k = Load32(key + i);
      for (int h = 0; h < kHeads; ++h) {
        sums[h] = _mm512_dpbf16_ps(sums[h], Load32(item.query + h * head_dim + i), k);
      }
    }
    for (int h = 0; h < kHeads; ++h) scores[h * stride + j] = _mm512_reduce_add_ps(sums[h]);
  }
}

// scores[first, length) become exp(scale * (score - largest)); returns their sum.
float Exponentiate(float* scores, int64_t first, int64_t length, float scale) {
  __m512 top = _mm512_set1_ps(-3.0e38f);
  for (int64_t j = first; j < length; j += 16) {
    const __mmask16 mask = Visible(j, first, length);
    top = _mm512_mask_max_ps(top, mask, top, _mm512_maskz_loadu_ps(mask, scores + j));
  }
  const __m512 shift = _mm512_set1_ps(_mm512_reduce_max_ps(top) * scale);
  __m512 sum = _mm512_setzero_ps();
  for (int64_t j = first; j < length; j += 16) {
    const __mmask16 mask = Visible(j, first, length);
    const __m512 x =
        _mm512_fmsub_ps(_mm512_maskz_loadu_ps(mask, scores + j), _mm512_set1_ps(scale), shift);
    const __m512 e = _mm512_maskz_mov_ps(mask, Exp(x));
    _mm512_mask_storeu_ps(scores + j, mask, e);
    sum = _mm512_add_ps(sum, e);
  }
  return _mm512_reduce_add_ps(sum);
}

// Columns [column, column + 32) of the output.
template <int kHeads>
void WeighValues(const Item& item, int64_t head_dim, const float* scores, int64_t stride,
                 const float* inverse, int64_t column) {
  __m512 sums[kHeads][2];
  for (int h = 0; h < kHeads; ++h) sums[h][0] = sums[h][1] = _mm512_setzero_ps();
  for (int64_t j = item.first; j < item.length; ++j) {
    const auto* value = reinterpret_cast<const uint16_t*>(item.values + j * item.step + column);
    const __m512 v0 = FromBf16(value);
    const __m512 v1 = FromBf16(value + 16);
    for (int h = 0; h < kHeads; ++h) {
      const __m512 p = _mm512_set1_ps(scores[h * stride + j]);
      sums[h][0] = _mm512_fmadd_ps(p, v0, sums[h][0]);
      sums[h][1] = _mm512_fmadd_ps(p, v1, sums[h][1]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    auto* out = reinterpret_cast<uint16_t*>(item.out + h * head_dim + column);
    StoreBf16(out, _mm512_mul_ps(sums[h][0], _mm512_set1_ps(inverse[h])));
    StoreBf16(out + 16, _mm512_mul_ps(sums[h][1], _mm512_set1_ps(inverse[h])));
  }
}

template <int kHeads>
void Attend(const Item& item, int64_t head_dim, float scale, float* scores, int64_t stride) {
  Scores<kHeads>(item, head_dim, scores, stride);
  float inverse[kHeads];
  for (int h = 0; h < kHeads; ++h) {
    inverse[h] = 1.0f / Exponentiate(scores + h * stride, item.first, item.length, scale);
  }
  for (int64_t column = 0; column < head_dim; column += 32) {
    WeighValues<kHeads>(item, head_dim, scores, stride, inverse, column);
  }
}

using Attention = void (*)(const Item&, int64_t, float, float*, int64_t);
constexpr Attention kAttend[kDecodeHeads + 1] = {nullptr, Attend<1>, Attend<2>, Attend<3>,
                                                 Attend<4>};

}  // namespace

bool HasBf16DecodeAttention(int64_t head_dim) { return head_dim % 32 == 0 && CpuHasAvx512Bf16(); }

void Bf16DecodeAttention(const DecodeAttentionArgs<Bf16Bits>& args, float* scores, int64_t begin,
                         int64_t end) {
  const int64_t group = args.heads / args.kv_heads;
  const int64_t d = args.head_dim;
  for (int64_t number = begin; number < end; ++number) {
    const int64_t sequence = number / args.kv_heads;
    const int64_t kv_head = number % args.kv_heads;
    const int64_t length = args.lengths[sequence];
    const int64_t cache = (args.slots[sequence] * args.capacity * args.kv_heads + kv_head) * d;
    for (int64_t g = 0; g < group; g += kDecodeHeads) {
      const int64_t head = kv_head * group + g;
      const Item item = {.query = args.query + sequence * args.query_stride + head * d,
                         .keys = args.keys + cache,
                         .values = args.values + cache,
                         .out = args.out + (sequence * args.heads + head) * d,
                         .first = args.window > 0 ? Max(0, length - args.window) : 0,
                         .length = length,
                         .step = args.kv_heads * d};
      kAttend[Min(kDecodeHeads, group - g)](item, d, args.scale, scores, args.capacity);
    }
  }
}

}  // namespace wardtune

#else

namespace wardtune {

bool HasBf16DecodeAttention(int64_t) { return false; }
void Bf16DecodeAttention(const DecodeAttentionArgs<Bf16Bits>&, float*, int64_t, int64_t) {}

}  // namespace wardtune

#endif
