// Attention by vdpbf16ps. Compiled with avx512_bf16 where the compiler can; calls nothing of the
// standard library, for the reason that elementwise_kernels.inc gives.
#include "worker/model/attention_kernels.h"
#include "worker/model/cpu_features.h"

#if defined(__AVX512BF16__)

#include <immintrin.h>

namespace wardtune {
namespace {

#include "worker/model/attention_layouts.inc"
constexpr int64_t kRows = 8;  // of a register tile
constexpr int64_t kPairStep = 1;
constexpr int64_t kLeftPairs = 0;
struct Engine {};

// A matrix of 32-bit pairs of bf16 numbers; consecutive along the contraction.
struct Pairs {
  const uint32_t* data;
  int64_t row;   // from one row to the next
  int64_t pair;  // from one pair to the next
};

// c[8, 32] (+)= a[8, pairs] * b[pairs, 32].
inline void Tile(Pairs a, const uint32_t* b, int64_t ldb, int64_t pairs, float* c, int64_t ldc,
                 bool accumulate) {
  __m512 acc[kRows][2];
  for (int r = 0; r < kRows; ++r) {
    acc[r][0] = accumulate ? _mm512_loadu_ps(c + r * ldc) : _mm512_setzero_ps();
    acc[r][1] = accumulate ? _mm512_loadu_ps(c + r * ldc + 16) : _mm512_setzero_ps();
  }
  for (int64_t p = 0; p < pairs; ++p) {
    const __m512bh b0 = (__m512bh)_mm512_loadu_si512(b + p * ldb);
    const __m512bh b1 = (__m512bh)_mm512_loadu_si512(b + p * ldb + 16);
    const uint32_t* column = a.data + p * a.pair;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512bh x = (__m512bh)_mm512_set1_epi32(static_cast<int>(column[r * a.row]));
      acc[r][0] = _mm512_dpbf16_ps(acc[r][0], x, b0);
      acc[r][1] = _mm512_dpbf16_ps(acc[r][1], x, b1);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    _mm512_storeu_ps(c + r * ldc, acc[r][0]);
    _mm512_storeu_ps(c + r * ldc + 16, acc[r][1]);
  }
}

inline void RowTiles(const uint16_t* a, int64_t lda, const uint32_t* b, int64_t ldb, int64_t pairs,
                     float* c, int64_t ldc, int64_t columns) {
  const Pairs rows = {reinterpret_cast<const uint32_t*>(a), lda / 2, 1};
  for (int64_t j = 0; j < columns; j += kColumns) {
    Tile(rows, b + j, ldb, pairs, c + j, ldc, /*accumulate=*/false);
  }
}

inline const uint32_t* LayOutLeft(const uint32_t* pairs, int64_t, uint32_t*) { return pairs; }

inline void AddProducts(const uint32_t* left, int64_t d, int64_t skip, int64_t end,
                        const uint32_t* b, int64_t ldb, float* c) {
  for (int64_t row = 0; row < d; row += kRows) {
    Tile({left + skip * d + row, 1, d}, b + skip * ldb, ldb, end - skip, c + row * ldb, ldb,
         /*accumulate=*/true);
  }
}

#include "worker/model/attention_kernels.inc"

}  // namespace

const Bf16AttentionKernels* VectorAttention(int64_t head_dim) {
  return CpuHasAvx512Bf16() && IsSupported(head_dim) ? &kKernels : nullptr;
}

}  // namespace wardtune

#else

namespace wardtune {

const Bf16AttentionKernels* VectorAttention(int64_t) { return nullptr; }

}  // namespace wardtune

#endif
