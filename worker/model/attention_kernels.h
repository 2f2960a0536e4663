// Causal grouped-query attention in bf16 for CPUs that multiply bf16, forward and backward, one
// (sequence, key head) at a time.
//
// Exact softmax over blocks of queries; keys and values are laid out once as the pairs of bf16
// numbers that the CPU multiplies. Products accumulate in fp32; probabilities and their
// gradients are rounded to bf16 before they are multiplied again. Memory is linear in the length.
// Nothing is allocated: the caller hands in scratch. Thread safety: pure functions; calls for
// different (sequence, key head) pairs write different memory.
#ifndef WARDTUNE_WORKER_MODEL_ATTENTION_KERNELS_H_
#define WARDTUNE_WORKER_MODEL_ATTENTION_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace wardtune {

// All bf16 numbers are given by their bits, row-major; a row is a token.
struct Bf16Attention {
  const uint16_t* qkv = nullptr;  // [rows, (heads + 2 kv_heads) * head_dim], rotated
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;        // a multiple of 32, at most 256
  int64_t window = 0;          // tokens that a token sees, itself included; 0: all before it
  float scale = 0.0f;          // of the scores
  int64_t rows = 0;            // of the whole packed stream
  uint16_t* out = nullptr;     // [rows, heads * head_dim]; the backward pass reads it
  float* logsumexp = nullptr;  // [heads, rows]; the backward pass reads it
  // Backward only.
  const uint16_t* d_out = nullptr;
  uint16_t* d_qkv = nullptr;  // like qkv, overwritten
};

// One way of computing it.
struct Bf16AttentionKernels {
  // Bytes of scratch for a sequence of `length` tokens; aligned to 64.
  size_t (*scratch)(int64_t length, int64_t head_dim, bool backward);
  // One sequence, rows begin..begin+length-1, and one key head with all query heads that share it.
  void (*forward)(const Bf16Attention& args, int64_t begin, int64_t length, int64_t kv_head,
                  void* scratch);
  void (*backward)(const Bf16Attention& args, int64_t begin, int64_t length, int64_t kv_head,
                   void* scratch);
};

// On the CPU's tile unit (AMX), and by its vectors (avx512_bf16); null where this CPU cannot or
// the head size does not fit.
const Bf16AttentionKernels* TileAttention(int64_t head_dim);
const Bf16AttentionKernels* VectorAttention(int64_t head_dim);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_ATTENTION_KERNELS_H_
