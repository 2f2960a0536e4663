#define WT_KERNELS_FUNCTION BaselineKernels
#define WT_KERNELS_NAME "baseline"
#include "worker/model/elementwise_kernels.inc"
