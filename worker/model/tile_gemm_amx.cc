// Compiled with amx_bf16 and avx512_bf16 where the compiler can; calls nothing of the standard
// library, for the reason that elementwise_kernels.inc gives.
#include "worker/model/cpu_features.h"
#include "worker/model/packed_gemm.h"
#include "worker/model/tile_gemm.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)

#include <immintrin.h>

namespace wardtune {
namespace {

#include "worker/model/bf16_vectors.inc"
#include "worker/model/tile_unit.inc"

constexpr int64_t kBlockRows = 32;   // two tiles
constexpr int64_t kMaxDepth = 1536;  // of k, laid out at a time
constexpr int64_t kPanelBytes = 1 << 20;
// Below so many columns the left factor is read too seldom to be worth laying out.
constexpr int64_t kFewColumns = 64;

// Masks of the first `count` of a vector's 32 or 16 numbers.
inline __mmask32 FirstOf32(int64_t count) {
  return count >= 32 ? 0xffffffffu : count <= 0 ? 0u : (1u << count) - 1u;
}
inline __mmask16 FirstOf16(int64_t count) {
  return static_cast<__mmask16>(FirstOf32(Min(count, 16)));
}

// Columns [begin, end) of one stretch of k, as blocks [32 columns][pairs of k][32 columns, 2].
struct Panel {
  int64_t begin, end;
  int64_t k, depth;  // k's [k, k + depth)
  int64_t pairs;     // depth / 2, up to whole tiles
  uint16_t* data;
  int64_t BlockNumbers() const { return pairs * 2 * kTileColumns; }
};

// 16 columns of a right factor along whose rows k runs.
void PackColumns(const TileOperand& right, int64_t column, int64_t count, const Panel& panel,
                 uint16_t* to) {
  for (int64_t p = 0; p < panel.pairs; p += 16) {
    const __mmask32 mask = FirstOf32(panel.depth - 2 * p);
    __m512i block[16];
    for (int i = 0; i < 16; ++i) {
      const uint16_t* from = right.data + (column + i) * right.stride + panel.k + 2 * p;
      block[i] = i < count ? _mm512_maskz_loadu_epi16(mask, from) : _mm512_setzero_si512();
    }
    Transpose16(block);
    for (int i = 0; i < 16; ++i) {
      _mm512_store_si512(to + (p + i) * 2 * kTileColumns, block[i]);
    }
  }
}

// A right factor whose stored rows are k's, along these rows as they lie in memory.
void InterleaveRows(const TileOperand& right, const Panel& panel) {
  const __m512i low = InterleaveIndex(0);
  const __m512i high = InterleaveIndex(16);
  for (int64_t p = 0; p < panel.pairs; ++p) {
    const uint16_t* const even_row = right.data + (panel.k + 2 * p) * right.stride;
    uint16_t* out = panel.data + p * 2 * kTileColumns;
    for (int64_t column = panel.begin; column < panel.end; column += kTileColumns) {
      const __mmask32 mask = FirstOf32(panel.end - column);
      const auto row = [&](int64_t k) {
        return 2 * p + k < panel.depth
                   ? _mm512_maskz_loadu_epi16(mask, even_row + k * right.stride + column)
                   : _mm512_setzero_si512();
      };
      const __m512i even = row(0);
      const __m512i odd = row(1);
      _mm512_store_si512(out, _mm512_permutex2var_epi16(even, low, odd));
      _mm512_store_si512(out + 32, _mm512_permutex2var_epi16(even, high, odd));
      out += panel.BlockNumbers();
    }
  }
}

void PackPanel(const TileProduct& p, const Panel& panel) {
  if (p.right.k_first) return InterleaveRows(p.right, panel);
  uint16_t* to = panel.data;
  for (int64_t column = panel.begin; column < panel.end; column += kTileColumns) {
    const int64_t count = Min(kTileColumns, panel.end - column);
    PackColumns(p.right, column, Min(count, 16), panel, to);
    PackColumns(p.right, column + 16, Max(count - 16, 0), panel, to + 32);
    to += panel.BlockNumbers();
  }
}

// 16 rows of the left factor as tiles of [16 rows][32 k's], `step` numbers apart; rows past
// `count` and k's past the depth are zero.
void PackRows(const TileOperand& left, int64_t row, int64_t count, const Panel& panel, uint16_t* to,
              int64_t step) {
  for (int64_t p = 0; p < panel.pairs; p += 16, to += step) {
    const __mmask32 mask = FirstOf32(panel.depth - 2 * p);
    for (int i = 0; i < 16; ++i) {
      const uint16_t* from = left.data + (row + i) * left.stride + panel.k + 2 * p;
      _mm512_store_si512(to + i * 32,
                         i < count ? _mm512_maskz_loadu_epi16(mask, from) : _mm512_setzero_si512());
    }
  }
}

// The same for a left factor whose stored rows are k's.
void TransposeRows(const TileOperand& left, int64_t row, int64_t count, const Panel& panel,
                   uint16_t* to, int64_t step) {
  const __mmask16 mask = FirstOf16(count);
  const auto widen = [&](int64_t k) {
    if (k >= panel.depth) return _mm512_setzero_si512();
    return _mm512_cvtepu16_epi32(
        _mm256_maskz_loadu_epi16(mask, left.data + (panel.k + k) * left.stride + row));
  };
  for (int64_t p = 0; p < panel.pairs; p += 16, to += step) {
    __m512i block[16];
    for (int i = 0; i < 16; ++i) {
      block[i] = _mm512_or_si512(widen(2 * (p + i)), _mm512_slli_epi32(widen(2 * (p + i) + 1), 16));
    }
    Transpose16(block);
    for (int i = 0; i < 16; ++i) _mm512_store_si512(to + i * 32, block[i]);
  }
}

// Up to 32 rows of the left factor for one panel.
struct Rows {
  const uint16_t* data[2];
  int64_t row_bytes;
  int64_t step;  // numbers from one tile of k's to the next
  int tiles;
};

// Where CopyRows leaves `count` rows.
Rows CopiedRows(const uint16_t* scratch, int64_t count) {
  const int tiles = count > 16 ? 2 : 1;
  return {{scratch, scratch + 512}, 64, tiles * 512, tiles};
}

Rows CopyRows(const TileProduct& p, int64_t row, const Panel& panel, uint16_t* scratch) {
  const int64_t count = Min(kBlockRows, p.rows - row);
  const Rows rows = CopiedRows(scratch, count);
  for (int t = 0; t < rows.tiles; ++t) {
    const int64_t left = Min(16, count - t * 16);
    (p.left.k_first ? TransposeRows : PackRows)(p.left, row + t * 16, left, panel,
                                                scratch + t * 512, rows.step);
  }
  return rows;
}

Rows LayOutRows(const TileProduct& p, int64_t row, const Panel& panel, uint16_t* scratch) {
  const int64_t count = Min(kBlockRows, p.rows - row);
  const uint16_t* from = p.left.data + row * p.left.stride + panel.k;
  const bool in_place = p.left_in_place || panel.end - panel.begin <= kFewColumns;
  if (!p.left.k_first && in_place && count % 16 == 0 && panel.depth % 32 == 0) {
    const int tiles = count > 16 ? 2 : 1;
    return {{from, from + 16 * p.left.stride}, p.left.stride * 2, 32, tiles};
  }
  return CopyRows(p, row, panel, scratch);
}

// Weights that are needed next, asked for while the tile unit is busy: a core that waits for memory
// reads 12 GB/s, as long as multiplying 60 rows takes.
struct Ahead {
  const char* at = nullptr;
  int64_t line_bytes = 0;  // from one cache line to the next
  int64_t step_bytes = 0;  // from one 32 k's to the next
  int64_t lines = 0;       // at each of these
  void Prefetch() {
    for (int64_t i = 0; i < lines; ++i) _mm_prefetch(at + i * line_bytes, _MM_HINT_T1);
    at += step_bytes;
  }
};

// A block of 32 rows or columns has so many lines at each 32 k's; each of `sweeps` over the present
// block asks for its share of the next.
constexpr int64_t kAheadLines = 32;
inline int64_t AheadLines(int64_t sweeps) { return (kAheadLines + sweeps - 1) / sweeps; }

// c[16 kRowTiles][16 kColumnTiles] (+)= rows * one block of a panel; c has 32 columns a row.
template <int kRowTiles, int kColumnTiles>
void MultiplyBlock(const Rows& rows, const uint16_t* block, int64_t pairs, bool accumulate,
                   Ahead ahead, float* c) {
  constexpr int64_t kStride = kTileColumns * 4;
  WrittenToMemory(block);
  if (accumulate) {
    _tile_loadd(0, c, kStride);
    if constexpr (kColumnTiles == 2) _tile_loadd(1, c + 16, kStride);
    if constexpr (kRowTiles == 2) _tile_loadd(2, c + 16 * kTileColumns, kStride);
    if constexpr (kRowTiles == 2 && kColumnTiles == 2) {
      _tile_loadd(3, c + 16 * kTileColumns + 16, kStride);
    }
  } else {
    _tile_zero(0);
    if constexpr (kColumnTiles == 2) _tile_zero(1);
    if constexpr (kRowTiles == 2) _tile_zero(2);
    if constexpr (kRowTiles == 2 && kColumnTiles == 2) _tile_zero(3);
  }
  const uint16_t* a0 = rows.data[0];
  const uint16_t* a1 = rows.data[1];
  for (int64_t p = 0; p < pairs; p += 16) {
    ahead.Prefetch();
    _tile_loadd(6, block, kStride);
    _tile_loadd(4, a0, rows.row_bytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kColumnTiles == 2) {
      _tile_loadd(7, block + 32, kStride);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kRowTiles == 2) {
      _tile_loadd(5, a1, rows.row_bytes);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (kRowTiles == 2 && kColumnTiles == 2) _tile_dpbf16ps(3, 5, 7);
    block += 16 * 2 * kTileColumns;
    a0 += rows.step;
    a1 += rows.step;
  }
  _tile_stored(0, c, kStride);
  if constexpr (kColumnTiles == 2) _tile_stored(1, c + 16, kStride);
  if constexpr (kRowTiles == 2) _tile_stored(2, c + 16 * kTileColumns, kStride);
  if constexpr (kRowTiles == 2 && kColumnTiles == 2) {
    _tile_stored(3, c + 16 * kTileColumns + 16, kStride);
  }
}

void MultiplyBlock(const Rows& rows, const uint16_t* block, int64_t columns, int64_t pairs,
                   bool accumulate, const Ahead& ahead, float* c) {
  const auto multiply = rows.tiles == 2
                            ? (columns > 16 ? MultiplyBlock<2, 2> : MultiplyBlock<2, 1>)
                            : (columns > 16 ? MultiplyBlock<1, 2> : MultiplyBlock<1, 1>);
  multiply(rows, block, pairs, accumulate, ahead, c);
}

inline void StoreRow(uint16_t* to, __m512 sums, __mmask16 mask, bool accumulate) {
  if (accumulate) {
    const __m512i old =
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, to)), 16);
    sums = _mm512_add_ps(sums, (__m512)old);
  }
  _mm256_mask_storeu_epi16(to, mask, ToBf16(sums));
}

inline void StoreRow(float* to, __m512 sums, __mmask16 mask, bool accumulate) {
  if (accumulate) sums = _mm512_add_ps(sums, _mm512_maskz_loadu_ps(mask, to));
  _mm512_mask_storeu_ps(to, mask, sums);
}

template <typename T>
void StoreBlock(const float* c, int64_t rows, int64_t columns, bool accumulate, T* to,
                int64_t stride) {
  for (int64_t r = 0; r < rows; ++r) {
    StoreRow(to + r * stride, _mm512_load_ps(c + r * kTileColumns), FirstOf16(columns), accumulate);
    if (columns <= 16) continue;
    StoreRow(to + r * stride + 16, _mm512_load_ps(c + r * kTileColumns + 16),
             FirstOf16(columns - 16), accumulate);
  }
}

template <typename T>
void StoreTransposed(const float* c, int64_t rows, int64_t columns, bool accumulate, T* to,
                     int64_t stride) {
  for (int64_t r = 0; r < rows; r += 16) {
    for (int64_t j = 0; j < columns; j += 16) {
      __m512i block[16];
      for (int i = 0; i < 16; ++i) block[i] = _mm512_load_si512(c + (r + i) * kTileColumns + j);
      Transpose16(block);
      for (int64_t i = 0; i < Min(16, columns - j); ++i) {
        StoreRow(to + (j + i) * stride + r, (__m512)block[i], FirstOf16(rows - r), accumulate);
      }
    }
  }
}

template <typename T>
void StoreTo(T* to, const TileProduct& p, const float* c, int64_t row, int64_t column,
             int64_t end) {
  const int64_t rows = Min(kBlockRows, p.rows - row);
  const int64_t columns = Min(kTileColumns, end - column);
  if (p.c_transposed) {
    StoreTransposed(c, rows, columns, p.accumulate, to + column * p.stride + row, p.stride);
  } else {
    StoreBlock(c, rows, columns, p.accumulate, to + row * p.stride + column, p.stride);
  }
}

void Store(const TileProduct& p, const float* c, int64_t row, int64_t column, int64_t end) {
  if (p.bf16 != nullptr) {
    StoreTo(p.bf16, p, c, row, column, end);
  } else {
    StoreTo(p.fp32, p, c, row, column, end);
  }
}

// How a product is cut.
struct Cuts {
  explicit Cuts(const TileProduct& p)
      : depth(Min(kMaxDepth, RoundUp(p.k, 32))),
        columns(Max(kPanelBytes / (2 * depth) / kTileColumns, 1) * kTileColumns),
        row_blocks((p.rows + kBlockRows - 1) / kBlockRows) {}
  int64_t depth;
  int64_t columns;
  int64_t row_blocks;
  // Sums that wait for the next stretch of k.
  int64_t Waiting(const TileProduct& p, int64_t width) const {
    const int64_t blocks = (Min(width, columns) + kTileColumns - 1) / kTileColumns;
    return (p.k > depth ? row_blocks * blocks : 1) * kBlockRows * kTileColumns;
  }
  int64_t PanelNumbers(int64_t width) const {
    return RoundUp(Min(width, columns), kTileColumns) * depth;
  }
};

void MultiplyPanel(const TileProduct& p, const Panel& panel, uint16_t* rows_scratch, float* sums) {
  const bool first = panel.k == 0;
  const bool last = panel.k + panel.depth == p.k;
  const int64_t lines = AheadLines((panel.end - panel.begin + kTileColumns - 1) / kTileColumns);
  for (int64_t row = 0; row < p.rows; row += kBlockRows) {
    const Rows rows = LayOutRows(p, row, panel, rows_scratch);
    const uint16_t* block = panel.data;
    Ahead ahead;
    if (rows.data[0] != rows_scratch) {  // read where they lie: the next rows
      const int64_t bytes = p.left.stride * 2;
      ahead = {reinterpret_cast<const char*>(rows.data[0]) + kBlockRows * bytes, bytes, 64, lines};
    }
    for (int64_t column = panel.begin; column < panel.end; column += kTileColumns) {
      MultiplyBlock(rows, block, panel.end - column, panel.pairs, !first, ahead, sums);
      ahead.at += ahead.lines * ahead.line_bytes;
      if (last) Store(p, sums, row, column, panel.end);
      block += panel.BlockNumbers();
      if (!(first && last)) sums += kBlockRows * kTileColumns;
    }
  }
}

}  // namespace

bool HasTileGemm() { return CpuHasTileUnit() && CpuHasAvx512Bf16(); }

size_t TileScratch(const TileProduct& product, int64_t begin, int64_t end) {
  const Cuts cuts(product);
  const int64_t width = end - begin;
  return static_cast<size_t>(2 * cuts.PanelNumbers(width) + 2 * kBlockRows * cuts.depth +
                             4 * cuts.Waiting(product, width));
}

void MultiplyTiles(const TileProduct& product, int64_t begin, int64_t end, void* scratch) {
  const Cuts cuts(product);
  auto* const panel_data = static_cast<uint16_t*>(scratch);
  uint16_t* const rows_scratch = panel_data + cuts.PanelNumbers(end - begin);
  auto* const sums = reinterpret_cast<float*>(rows_scratch + kBlockRows * cuts.depth);
  const TileUnit unit;
  for (int64_t column = begin; column < end; column += cuts.columns) {
    for (int64_t k = 0; k < product.k; k += cuts.depth) {
      const int64_t depth = Min(cuts.depth, product.k - k);
      const Panel panel = {column, Min(end, column + cuts.columns), k,
                           depth,  RoundUp(depth, 32) / 2,          panel_data};
      PackPanel(product, panel);
      MultiplyPanel(product, panel, rows_scratch, sums);
    }
  }
}

size_t PackedTileScratch(const PackedProduct& product) {
  return static_cast<size_t>(RoundUp(product.rows, kBlockRows) * product.k * 2 +
                             kBlockRows * kTileColumns * 4);
}

void LayOutPackedRows(const PackedProduct& product, void* scratch) {
  const TileProduct p = {.rows = product.rows, .left = {product.x, product.k}};
  const Panel whole = {0, product.n, 0, product.k, product.k / 2, nullptr};
  for (int64_t row = 0; row < p.rows; row += kBlockRows) {
    CopyRows(p, row, whole, static_cast<uint16_t*>(scratch) + row * product.k);
  }
}

void MultiplyPackedTiles(const PackedProduct& product, int64_t begin, int64_t end, void* scratch) {
  static_assert(kPackedColumns == kTileColumns);
  const TileProduct p = {
      .rows = product.rows, .columns = product.n, .bf16 = product.y, .stride = product.n};
  auto* const sums = reinterpret_cast<float*>(static_cast<uint16_t*>(scratch) +
                                              RoundUp(p.rows, kBlockRows) * product.k);
  const TileUnit unit;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t column = block * kTileColumns;
    // The weights are read once, the few rows again and again.
    for (int64_t row = 0; row < p.rows; row += kBlockRows) {
      const uint16_t* const laid_out = static_cast<const uint16_t*>(scratch) + row * product.k;
      MultiplyBlock(CopiedRows(laid_out, p.rows - row), product.packed + column * product.k,
                    p.columns - column, product.k / 2,
                    /*accumulate=*/false, /*ahead=*/{}, sums);
      Store(p, sums, row, column, p.columns);
    }
  }
}

}  // namespace wardtune

#else

namespace wardtune {

bool HasTileGemm() { return false; }
size_t TileScratch(const TileProduct&, int64_t, int64_t) { return 0; }
void MultiplyTiles(const TileProduct&, int64_t, int64_t, void*) {}
size_t PackedTileScratch(const PackedProduct&) { return 0; }
void LayOutPackedRows(const PackedProduct&, void*) {}
void MultiplyPackedTiles(const PackedProduct&, int64_t, int64_t, void*) {}

}  // namespace wardtune

#endif
