// Compiled with avx512_bf16 where the compiler can; calls nothing of the standard library, for the
// reason that elementwise_kernels.inc gives.
#include "worker/model/cpu_features.h"
#include "worker/model/decode_attention.h"

#if defined(__AVX512BF16__)

#include <immintrin.h>

namespace wardtune {
namespace {

#include "worker/model/attention_layouts.inc"

// Where one key head's tokens lie in a cache: the first `shared` of them in another slot.
struct Tokens {
  int64_t own, beginning;  // numbers before token 0 of either slot
  int64_t shared;
  int64_t At(int64_t token, int64_t head_dim) const {
    return (token < shared ? beginning : own) + token * head_dim;
  }
};

// One key head of one sequence, and some of the query heads that share it.
struct Item {
  const Bf16Bits* query;  // [kHeads, head_dim]
  const Bf16Bits* keys;   // the whole caches
  const Bf16Bits* values;
  Bf16Bits* out;  // [kHeads, head_dim]
  Tokens tokens;
  const Tokens* next;  // of the item after this one, or null
  int64_t first;       // tokens [first, length) are seen
  int64_t length;
};

inline __m512i Load32(const Bf16Bits* x) { return _mm512_loadu_si512(x); }

// Asks for `count` tokens' numbers, so that they are there when the present work is done: most of
// the time of a step's attention is waiting for the cache.
inline void Prefetch(const Bf16Bits* tokens, int64_t count, int64_t head_dim) {
  const auto* at = reinterpret_cast<const char*>(tokens);
  for (int64_t i = 0; i < count * head_dim * 2; i += 64) _mm_prefetch(at + i, _MM_HINT_T0);
}

// 16 tokens at a time: turned around, their keys give a vector of 16 sums, so that no sum has to be
// added up over lanes.
template <int kHeads>
void Scores(const Item& item, int64_t head_dim, float* scores, int64_t stride) {
  for (int64_t j = item.first; j < item.length; j += 16) {
    const int64_t last = item.length - 1;
    __m512 sums[kHeads][2];  // two chains of additions each, which wait for each other less
    for (int h = 0; h < kHeads; ++h) sums[h][0] = sums[h][1] = _mm512_setzero_ps();
    // A shared beginning is in the caches already.
    const int64_t own = Max(j, item.tokens.shared);
    const int64_t end = Min(j + 16, item.length);
    Prefetch(item.values + item.tokens.own + own * head_dim, end - own, head_dim);
    for (int64_t i = 0; i < head_dim; i += 32) {
      __m512i keys[16];
      for (int t = 0; t < 16; ++t) {
        keys[t] = Load32(item.keys + item.tokens.At(Min(j + t, last), head_dim) + i);
      }
      Transpose16(keys);
#pragma GCC unroll 16
      for (int p = 0; p < 16; ++p) {
        for (int h = 0; h < kHeads; ++h) {
          const __m512bh q = BroadcastPair(item.query + h * head_dim + i + 2 * p);
          sums[h][p % 2] = _mm512_dpbf16_ps(sums[h][p % 2], q, (__m512bh)keys[p]);
        }
      }
    }
    const __mmask16 mask = Visible(j, item.first, item.length);
    for (int h = 0; h < kHeads; ++h) {
      _mm512_mask_storeu_ps(scores + h * stride + j, mask, _mm512_add_ps(sums[h][0], sums[h][1]));
    }
  }
}

// Scores [first, length) become weights exp(scale * (score - largest)) in bf16, one behind the
// other from the start of the scores' own memory, with a zero behind the last. Returns their sum.
float Exponentiate(float* scores, int64_t first, int64_t length, float scale) {
  __m512 top = _mm512_set1_ps(-3.0e38f);
  for (int64_t j = first; j < length; j += 16) {
    const __mmask16 mask = Visible(j, first, length);
    top = _mm512_mask_max_ps(top, mask, top, _mm512_maskz_loadu_ps(mask, scores + j));
  }
  const __m512 shift = _mm512_set1_ps(_mm512_reduce_max_ps(top) * scale);
  auto* weights = reinterpret_cast<uint16_t*>(scores);
  __m512 sum = _mm512_setzero_ps();
  for (int64_t j = first; j < length; j += 16) {
    const __mmask16 mask = Visible(j, first, length);
    const __m512 x =
        _mm512_fmsub_ps(_mm512_maskz_loadu_ps(mask, scores + j), _mm512_set1_ps(scale), shift);
    const __m512 e = _mm512_maskz_mov_ps(mask, Exp(x));
    const __mmask16 even = mask | static_cast<__mmask16>(mask << 1);
    _mm256_mask_storeu_epi16(weights + j - first, even, ToBf16(e));
    sum = _mm512_add_ps(sum, e);
  }
  return _mm512_reduce_add_ps(sum);
}

// Columns [column, column + 32) of the output, two tokens at a time.
template <int kHeads>
void WeighValues(const Item& item, const uint16_t* const* weights, const float* inverse,
                 int64_t head_dim, int64_t column) {
  __m512 sums[kHeads][2];
  for (int h = 0; h < kHeads; ++h) sums[h][0] = sums[h][1] = _mm512_setzero_ps();
  for (int64_t j = item.first; j < item.length; j += 2) {
    if (column == 0 && item.next != nullptr && j >= item.next->shared) {
      Prefetch(item.keys + item.next->own + j * head_dim, 2, head_dim);
    }
    const auto value = [&](int64_t token) {
      return Load32(item.values + item.tokens.At(token, head_dim) + column);
    };
    const __m512i even = value(j);
    const __m512i odd = j + 1 < item.length ? value(j + 1) : _mm512_setzero_si512();
    const auto low = (__m512bh)_mm512_unpacklo_epi16(even, odd);
    const auto high = (__m512bh)_mm512_unpackhi_epi16(even, odd);
    for (int h = 0; h < kHeads; ++h) {
      const __m512bh w = BroadcastPair(weights[h] + j - item.first);
      sums[h][0] = _mm512_dpbf16_ps(sums[h][0], w, low);
      sums[h][1] = _mm512_dpbf16_ps(sums[h][1], w, high);
    }
  }
  // Unpacking left columns 0-3, 8-11, .. in the first sum and 4-7, 12-15, .. in the second.
  const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
  for (int h = 0; h < kHeads; ++h) {
    auto* out = reinterpret_cast<uint16_t*>(item.out + h * head_dim + column);
    const __m512 share = _mm512_set1_ps(inverse[h]);
    StoreBf16(out, _mm512_mul_ps(_mm512_permutex2var_ps(sums[h][0], first, sums[h][1]), share));
    StoreBf16(out + 16,
              _mm512_mul_ps(_mm512_permutex2var_ps(sums[h][0], second, sums[h][1]), share));
  }
}

template <int kHeads>
void Attend(const Item& item, int64_t head_dim, float scale, float* scores, int64_t stride) {
  Scores<kHeads>(item, head_dim, scores, stride);
  float inverse[kHeads];
  const uint16_t* weights[kHeads];
  for (int h = 0; h < kHeads; ++h) {
    float* const of_head = scores + h * stride;
    inverse[h] = 1.0f / Exponentiate(of_head, item.first, item.length, scale);
    weights[h] = reinterpret_cast<const uint16_t*>(of_head);
  }
  for (int64_t column = 0; column < head_dim; column += 32) {
    WeighValues<kHeads>(item, weights, inverse, head_dim, column);
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
  const auto tokens_of = [&](int64_t number) {
    const int64_t slot = args.slots[number / args.kv_heads];
    const auto of_slot = [&](int64_t at) {
      return (at * args.kv_heads + number % args.kv_heads) * args.capacity * d;
    };
    if (args.beginnings == nullptr) return Tokens{of_slot(slot), 0, 0};
    const SharedBeginning& beginning = args.beginnings[slot];
    return Tokens{of_slot(slot), of_slot(beginning.slot), beginning.tokens};
  };
  Tokens tokens = tokens_of(begin);
  for (int64_t number = begin; number < end; ++number) {
    const int64_t sequence = number / args.kv_heads;
    const int64_t kv_head = number % args.kv_heads;
    const int64_t length = args.lengths[sequence];
    const Tokens next = number + 1 < end ? tokens_of(number + 1) : Tokens{};
    for (int64_t g = 0; g < group; g += kDecodeHeads) {
      const int64_t head = kv_head * group + g;
      const bool last = g + kDecodeHeads >= group;
      const Item item = {.query = args.query + sequence * args.query_stride + head * d,
                         .keys = args.keys,
                         .values = args.values,
                         .out = args.out + (sequence * args.heads + head) * d,
                         .tokens = tokens,
                         .next = last && number + 1 < end ? &next : nullptr,
                         .first = args.window > 0 ? Max(0, length - args.window) : 0,
                         .length = length};
      kAttend[Min(kDecodeHeads, group - g)](item, d, args.scale, scores, args.capacity);
    }
    tokens = next;
  }
}

}  // namespace wardtune

#else

namespace wardtune {

bool HasBf16DecodeAttention(int64_t) { return false; }
void Bf16DecodeAttention(const DecodeAttentionArgs<Bf16Bits>&, float*, int64_t, int64_t) {}

}  // namespace wardtune

#endif
