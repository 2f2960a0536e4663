// Matrix products in bf16 on the CPU, for frozen weights as they lie in memory and for weights laid
// out once.
//
// A general GEMM library lays out every operand anew, decides by shape and compiles a kernel for
// each; here the operand that is swept again and again is laid out once per panel that fits the
// second-level cache, and products accumulate in fp32 over all of k. Whether an operand comes
// as it is or transposed is a matter of that layout, so no product needs a transposed copy.
// There are two ways of multiplying, the tile unit (AMX) and vectors (vdpbf16ps).
// Nothing is allocated: the caller hands in scratch.
// Thread safety: pure functions; calls for different parts of a product write different memory.
#ifndef WARDTUNE_WORKER_MODEL_BF16_GEMM_H_
#define WARDTUNE_WORKER_MODEL_BF16_GEMM_H_

#include <cstddef>
#include <cstdint>

namespace wardtune {

// Columns that are laid out together: a block, the smallest part of a product.
inline constexpr int64_t kGemmColumns = 32;
// Static: the sources of wide instructions must not share a copy with the others.
static constexpr int64_t GemmBlocks(int64_t columns) {
  return (columns + kGemmColumns - 1) / kGemmColumns;
}

// A matrix of bf16 numbers, given by their bits. The product's own indices are (row, k) for the
// left factor and (k, column) for the right one.
struct GemmOperand {
  const uint16_t* data = nullptr;
  int64_t stride = 0;    // numbers from one stored row to the next
  bool k_first = false;  // stored rows are k's: [k, rows] or [k, columns]; otherwise k runs along
};

// A product of few k's that is added to a rectangle of c before c is stored: LoRA's part of a
// linear layer's result, one of them for each projection and each job's rows.
struct GemmTerm {
  int64_t row = 0, rows = 0;  // of c
  int64_t column = 0, columns = 0;
  int64_t k = 0;
  GemmOperand left, right;  // of the rectangle alone
};

// c = left right, or c += left right, and the terms; c is bf16 or fp32.
struct GemmProduct {
  int64_t rows = 0, columns = 0, k = 0;  // at least 1
  GemmOperand left, right;
  uint16_t* bf16 = nullptr;  // exactly one of both is set
  float* fp32 = nullptr;
  int64_t stride = 0;         // numbers from one row of c to the next
  bool c_transposed = false;  // c is stored [columns, rows]
  bool accumulate = false;
  // The left factor is not in the caches: where its layout allows, it is read from where it lies,
  // ahead of its use, instead of being laid out.
  bool left_in_place = false;
  // What lies outside a term's rectangle is bit for bit as without it, whatever the term's numbers.
  const GemmTerm* terms = nullptr;
  int64_t term_count = 0;
};

// y = x W^T with few rows and W [n, k] laid out before: a decoding step, one row per sequence.
struct PackedProduct {
  const uint16_t* x = nullptr;       // [rows, k], contiguous
  const uint16_t* packed = nullptr;  // W, aligned to 64 bytes
  uint16_t* y = nullptr;             // [rows, n], contiguous
  int64_t rows = 0;
  int64_t n = 0;
  int64_t k = 0;
};
// Most rows of a packed product, so that its scratch stays in the caches.
inline constexpr int64_t kMaxPackedRows = 512;

// One way of multiplying. Scratch and packed weights are aligned to 64 bytes.
struct Bf16Gemm {
  // Weights along whose rows k runs are better the left factor, read where they lie, up to so many
  // rows of the other factor for each of k. It saves laying them out and costs turning c around.
  double in_place_rows;
  // Bytes of scratch for columns [begin, end).
  size_t (*scratch)(const GemmProduct& product, int64_t begin, int64_t end);
  // Columns [begin, end) of c. REQUIRES: begin is a multiple of kGemmColumns.
  void (*multiply)(const GemmProduct& product, int64_t begin, int64_t end, void* scratch);

  // Numbers in the packed form of W [n, k].
  int64_t (*packed_size)(int64_t n, int64_t k);
  // Packs blocks [begin, end) of `weight`, row-major [n, k], into the whole matrix's `packed`.
  void (*pack)(const uint16_t* weight, int64_t n, int64_t k, uint16_t* packed, int64_t begin,
               int64_t end);
  size_t (*packed_scratch)(const PackedProduct& product);
  // Fills a thread's scratch for any blocks of this product. REQUIRED before multiply_packed, which
  // also keeps its sums there.
  void (*lay_out_rows)(const PackedProduct& product, void* scratch);
  // The columns of y in blocks [begin, end). `next` is the block that the thread multiplies after
  // these, whose weights are asked for meanwhile, or the count of blocks if there is none.
  void (*multiply_packed)(const PackedProduct& product, int64_t begin, int64_t end, int64_t next,
                          void* scratch);
};

// Null where this CPU cannot. The first call of TileGemm asks the kernel for the tile unit.
const Bf16Gemm* TileGemm();
const Bf16Gemm* VectorGemm();

const Bf16Gemm* BestBf16Gemm();

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_BF16_GEMM_H_
