// What this CPU can do, asked at run time and never assumed.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_MODEL_CPU_FEATURES_H_
#define WARDTUNE_WORKER_MODEL_CPU_FEATURES_H_

namespace wardtune {

bool CpuHasAvx2();          // with FMA
bool CpuHasAvx512();        // F, BW, DQ, VL
bool CpuHasAvx512Bf16();    // the above and avx512_bf16
bool CpuHasTileUnit();      // amx_bf16, and the kernel lets this process use it
bool CpuHasFastBfloat16();  // avx512_bf16 or amx_bf16: matrix products in bf16 beat fp32

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_CPU_FEATURES_H_
