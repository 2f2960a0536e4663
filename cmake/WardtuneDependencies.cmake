# Debian's packages; deploy/install_system_packages.sh names them.
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(GTest REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(PkgConfig REQUIRED)

# Trains on a GPU where there is one. Not run by the project's own tests (docs/adr/0001).
option(WARDTUNE_CUDA "Link LibTorch's CUDA libraries; needs deploy/fetch_libtorch.sh cuda" OFF)

# LibTorch out of the pinned wheel. The wheel's own CMake config demands a CUDA
# toolkit even for CPU use, so the libraries are named here (docs/adr/0001).
# No cache entry: it would outlive a change of WARDTUNE_CACHE_DIR.
if(WARDTUNE_CUDA)
  set(_site "${WARDTUNE_CACHE_DIR}/libtorch-cuda")
  set(_fetch "deploy/fetch_libtorch.sh cuda")
else()
  set(_site "${WARDTUNE_CACHE_DIR}/libtorch")
  set(_fetch "deploy/fetch_libtorch.sh")
endif()
set(WARDTUNE_TORCH_DIR "${_site}/torch")
if(EXISTS "${WARDTUNE_TORCH_DIR}/lib/libtorch_cpu.so")
  add_library(wt_torch INTERFACE)
  target_include_directories(wt_torch SYSTEM INTERFACE
    "${WARDTUNE_TORCH_DIR}/include"
    "${WARDTUNE_TORCH_DIR}/include/torch/csrc/api/include")
  file(GLOB _cuda_lib_dirs LIST_DIRECTORIES true "${_site}/nvidia/*/lib")
  set(_torch_lib_dirs "${WARDTUNE_TORCH_DIR}/lib" ${_cuda_lib_dirs})
  if(WARDTUNE_CUDA)
    # Nothing refers to these by name: they register their kernels when they are loaded.
    target_link_libraries(wt_torch INTERFACE
      "-Wl,--push-state,--no-as-needed"
      "${WARDTUNE_TORCH_DIR}/lib/libtorch_cuda.so"
      "${WARDTUNE_TORCH_DIR}/lib/libc10_cuda.so"
      "-Wl,--pop-state")
  endif()
  target_link_libraries(wt_torch INTERFACE
    "${WARDTUNE_TORCH_DIR}/lib/libtorch_cpu.so"
    "${WARDTUNE_TORCH_DIR}/lib/libc10.so")
  target_link_options(wt_torch INTERFACE -Wl,--allow-shlib-undefined -Wl,--disable-new-dtags)
  foreach(dir IN LISTS _torch_lib_dirs)
    target_link_options(wt_torch INTERFACE "-Wl,-rpath,${dir}")
  endforeach()
  add_library(wt::torch ALIAS wt_torch)
elseif("worker" IN_LIST WARDTUNE_ROOMS)
  message(FATAL_ERROR "There is no LibTorch in ${WARDTUNE_TORCH_DIR}: run ${_fetch}")
endif()
