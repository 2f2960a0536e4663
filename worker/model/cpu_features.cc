#include "worker/model/cpu_features.h"

#include "worker/model/bf16_gemm.h"
#include "worker/model/elementwise_kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace wardtune {

#if defined(__x86_64__)

bool CpuHasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool CpuHasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && CpuHasAvx2();
}

bool CpuHasAvx512Bf16() {
  // Asked once: a virtual machine leaves for its host at every CPUID.
  static const bool has = [] {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;  // CPUID leaf 7, sub-leaf 1, EAX bit 5
    return CpuHasAvx512() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & (1u << 5));
  }();
  return has;
}

#if defined(__linux__)

bool CpuHasTileUnit() {
  // The kernel saves the tiles' 8 KiB only for processes that asked for them (Linux 5.16,
  // Documentation/arch/x86/xstate.rst). Asked once: the answer holds for all threads.
  static const bool allowed = [] {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;  // CPUID leaf 7, EDX bits 22 amx_bf16, 24 amx_tile
    constexpr unsigned kBits = (1u << 22) | (1u << 24);
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (edx & kBits) != kBits) return false;
    constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr int kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return allowed;
}

#else

bool CpuHasTileUnit() { return false; }

#endif

bool CpuHasFastBfloat16() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;  // CPUID leaf 7, sub-leaf 0, EDX bit 22 is amx_bf16
  const bool amx_bf16 = __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & (1u << 22));
  return CpuHasAvx512Bf16() || (CpuHasAvx512() && amx_bf16);
}

#else

bool CpuHasAvx2() { return false; }
bool CpuHasAvx512() { return false; }
bool CpuHasAvx512Bf16() { return false; }
bool CpuHasTileUnit() { return false; }
bool CpuHasFastBfloat16() { return false; }

#endif

const Bf16Gemm* BestBf16Gemm() {
  const Bf16Gemm* const tiles = TileGemm();
  return tiles != nullptr ? tiles : VectorGemm();
}

const CpuKernels& BestCpuKernels() {
  if (CpuHasAvx512()) return Avx512Kernels();
  if (CpuHasAvx2()) return Avx2Kernels();
  return BaselineKernels();
}

}  // namespace wardtune
