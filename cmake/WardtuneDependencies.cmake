# Debian's packages; deploy/install_system_packages.sh names them.
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(GTest REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(PkgConfig REQUIRED)

# LibTorch out of the pinned wheel. The wheel's own CMake config demands a CUDA
# toolkit even for CPU use, so the two libraries are named here (docs/adr/0001).
set(WARDTUNE_TORCH_DIR "${WARDTUNE_CACHE_DIR}/libtorch/torch" CACHE PATH "Unpacked torch wheel")
if(EXISTS "${WARDTUNE_TORCH_DIR}/lib/libtorch_cpu.so")
  get_filename_component(_site "${WARDTUNE_TORCH_DIR}" DIRECTORY)
  add_library(wt_torch INTERFACE)
  target_include_directories(wt_torch SYSTEM INTERFACE
    "${WARDTUNE_TORCH_DIR}/include"
    "${WARDTUNE_TORCH_DIR}/include/torch/csrc/api/include")
  file(GLOB _cuda_lib_dirs LIST_DIRECTORIES true "${_site}/nvidia/*/lib")
  set(_torch_lib_dirs "${WARDTUNE_TORCH_DIR}/lib" ${_cuda_lib_dirs})
  target_link_libraries(wt_torch INTERFACE
    "${WARDTUNE_TORCH_DIR}/lib/libtorch_cpu.so"
    "${WARDTUNE_TORCH_DIR}/lib/libc10.so")
  target_link_options(wt_torch INTERFACE -Wl,--allow-shlib-undefined -Wl,--disable-new-dtags)
  foreach(dir IN LISTS _torch_lib_dirs)
    target_link_options(wt_torch INTERFACE "-Wl,-rpath,${dir}")
  endforeach()
  add_library(wt::torch ALIAS wt_torch)
endif()
