#define WT_KERNELS_FUNCTION Avx512Kernels
#define WT_KERNELS_NAME "avx512"
#include "worker/model/elementwise_kernels.inc"
