// Matrix products with few rows in bf16, for CPUs with avx512_bf16: y = x W^T where x has the rows
// of one decoding step, one per sequence.
//
// A general GEMM lays out W anew in every call, which costs as much as the product itself when x
// has few rows. Here W is laid out once, as the pairs of bf16 numbers that vdpbf16ps multiplies;
// products accumulate in fp32 over all of k and are rounded once.
// Thread safety: pure functions; calls for different blocks write different memory.
#ifndef WARDTUNE_WORKER_MODEL_PACKED_GEMM_H_
#define WARDTUNE_WORKER_MODEL_PACKED_GEMM_H_

#include <cstdint>

namespace wardtune {

// Columns of y, rows of W, that belong to one block.
inline constexpr int64_t kPackedColumns = 32;

// True where the functions below may be called.
bool HasPackedGemm();

// Numbers in the packed form of W [n, k]. REQUIRES: k is even.
int64_t PackedSize(int64_t n, int64_t k);

// Packs blocks [begin, end) of `weight`, row-major [n, k], given by its bits like all that follows.
// `packed` is the whole matrix's, aligned to 64 bytes.
void PackBlocks(const uint16_t* weight, int64_t n, int64_t k, uint16_t* packed, int64_t begin,
                int64_t end);

struct PackedProduct {
  const uint16_t* x = nullptr;  // [rows, k], contiguous
  const uint16_t* packed = nullptr;
  uint16_t* y = nullptr;  // [rows, n], contiguous
  int64_t rows = 0;
  int64_t n = 0;
  int64_t k = 0;
};
// The columns of y in blocks [begin, end).
void MultiplyBlocks(const PackedProduct& product, int64_t begin, int64_t end);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_PACKED_GEMM_H_
