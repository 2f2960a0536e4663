#define WT_KERNELS_FUNCTION Avx2Kernels
#define WT_KERNELS_NAME "avx2"
#include "worker/model/elementwise_kernels.inc"
