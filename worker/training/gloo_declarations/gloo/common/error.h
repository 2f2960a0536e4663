// ProcessGroupGloo.hpp includes it and uses nothing of it (../../README.md).
// Thread safety: empty.
#ifndef WARDTUNE_GLOO_COMMON_ERROR_H_
#define WARDTUNE_GLOO_COMMON_ERROR_H_
#endif  // WARDTUNE_GLOO_COMMON_ERROR_H_
