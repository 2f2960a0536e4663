// Attention on the tile unit. Compiled with amx_bf16 and avx512_bf16 where the compiler can; calls
// nothing of the standard library, for the reason that elementwise_kernels.inc gives.
#include "worker/model/attention_kernels.h"
#include "worker/model/cpu_features.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)

#include <immintrin.h>

namespace wardtune {
namespace {

#include "worker/model/attention_layouts.inc"
#include "worker/model/tile_unit.inc"

constexpr int64_t kRows = 16;  // of a tile
constexpr int64_t kPairStep = 16;
constexpr int64_t kLeftPairs = kBlock / 2;
using Engine = TileUnit;

// c[16, 32] += a b over 16 pairs; c lies in tiles 0 and 1.
inline void AddTiles(const void* a, int64_t a_row_bytes, const uint32_t* b, int64_t ldb) {
  _tile_loadd(2, a, a_row_bytes);
  _tile_loadd(3, b, ldb * 4);
  _tile_dpbf16ps(0, 2, 3);
  _tile_loadd(4, b + 16, ldb * 4);
  _tile_dpbf16ps(1, 2, 4);
}

inline void StoreTiles(float* c, int64_t ldc) {
  _tile_stored(0, c, ldc * 4);
  _tile_stored(1, c + 16, ldc * 4);
}

inline void RowTiles(const uint16_t* a, int64_t lda, const uint32_t* b, int64_t ldb, int64_t pairs,
                     float* c, int64_t ldc, int64_t columns) {
  WrittenToMemory(a);
  for (int64_t j = 0; j < columns; j += kColumns) {
    _tile_zero(0);
    _tile_zero(1);
    for (int64_t p = 0; p < pairs; p += 16) AddTiles(a + 2 * p, lda * 2, b + p * ldb + j, ldb);
    StoreTiles(c + j, ldc);
  }
}

// [d, kBlock / 2]: a tile's rows are its first factor's.
inline const uint32_t* LayOutLeft(const uint32_t* pairs, int64_t d, uint32_t* scratch) {
  for (int64_t row = 0; row < d; row += 16) {
    for (int64_t p = 0; p < kLeftPairs; p += 16) {
      __m512i block[16];
      for (int i = 0; i < 16; ++i) block[i] = _mm512_loadu_si512(pairs + (p + i) * d + row);
      Transpose16(block);
      for (int i = 0; i < 16; ++i) {
        _mm512_storeu_si512(scratch + (row + i) * kLeftPairs + p, block[i]);
      }
    }
  }
  return scratch;
}

inline void AddProducts(const uint32_t* left, int64_t d, int64_t skip, int64_t end,
                        const uint32_t* b, int64_t ldb, float* c) {
  WrittenToMemory(left);
  for (int64_t row = 0; row < d; row += kRows) {
    _tile_loadd(0, c + row * ldb, ldb * 4);
    _tile_loadd(1, c + row * ldb + 16, ldb * 4);
    for (int64_t p = skip; p < end; p += 16) {
      AddTiles(left + row * kLeftPairs + p, kLeftPairs * 4, b + p * ldb, ldb);
    }
    StoreTiles(c + row * ldb, ldb);
  }
}

#include "worker/model/attention_kernels.inc"

}  // namespace

const Bf16AttentionKernels* TileAttention(int64_t head_dim) {
  return CpuHasTileUnit() && CpuHasAvx512Bf16() && IsSupported(head_dim) ? &kKernels : nullptr;
}

}  // namespace wardtune

#else

namespace wardtune {

const Bf16AttentionKernels* TileAttention(int64_t) { return nullptr; }

}  // namespace wardtune

#endif
