# SPDX-License-Identifier: Apache-2.0
# Finds what the library can use. The build and the installed package both include this file, so that a consumer of
# either gets the same targets.
#
# Each function reads MIXPREC_<COMPONENT> (AUTO, ON or OFF; unset is AUTO) and sets MIXPREC_HAS_<COMPONENT> to ON or OFF
# in the caller's scope. ON stops with a sentence where the component is not found.
include_guard(DIRECTORY)

# Reports a component that was not found: an error where it was asked for, otherwise a line that says how it goes on
# (by default: without it).
function(mixprec_missing component what)
  set(instead "without it")
  if(ARGC GREATER 2)
    set(instead "${ARGV2}")
  endif()
  if(MIXPREC_${component} AND NOT MIXPREC_${component} STREQUAL "AUTO")
    message(FATAL_ERROR "mixprec: MIXPREC_${component}=${MIXPREC_${component}}, but ${what} was not found. "
                        "Install it, or configure with -DMIXPREC_${component}=OFF.")
  endif()
  message(STATUS "mixprec: ${what} was not found; going on ${instead}")
endfunction()

# Leaves the calling function where the user switched the component off.
macro(mixprec_return_unless_wanted component)
  set(MIXPREC_HAS_${component} OFF PARENT_SCOPE)
  if(DEFINED MIXPREC_${component} AND NOT MIXPREC_${component})
    return()
  endif()
endmacro()

# Threads of the CPU backend: OpenMP::OpenMP_CXX.
function(mixprec_find_openmp)
  mixprec_return_unless_wanted(OPENMP)
  find_package(OpenMP QUIET COMPONENTS CXX)
  if(NOT OpenMP_CXX_FOUND)
    mixprec_missing(OPENMP "OpenMP for C++")
    return()
  endif()
  set(MIXPREC_HAS_OPENMP ON PARENT_SCOPE)
endfunction()

# Sets `result` to what oneDNN's header `file` defines `name` as; empty where it cannot be read.
function(mixprec_read_define result include_dir file name)
  set(found "")
  foreach(header ${include_dir}/${file} ${include_dir}/oneapi/dnnl/${file})
    if(EXISTS ${header})
      file(STRINGS ${header} lines REGEX "^#define ${name} ")
      string(REGEX REPLACE "^#define ${name} +" "" lines "${lines}")
      string(APPEND found "${lines}")
    endif()
  endforeach()
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

# Convolution and matmul of the CPU backend: mixprec::onednn. Header and library are looked up directly: Debian's
# dnnl-config.cmake stops the whole configuration where OpenCL's development files are missing, which we do not need.
function(mixprec_find_onednn)
  mixprec_return_unless_wanted(ONEDNN)
  find_path(MIXPREC_ONEDNN_INCLUDE_DIR dnnl.hpp)
  find_library(MIXPREC_ONEDNN_LIBRARY dnnl)
  mark_as_advanced(MIXPREC_ONEDNN_INCLUDE_DIR MIXPREC_ONEDNN_LIBRARY)
  if(NOT MIXPREC_ONEDNN_INCLUDE_DIR OR NOT MIXPREC_ONEDNN_LIBRARY)
    mixprec_missing(ONEDNN "oneDNN (dnnl.hpp and libdnnl; Debian: libdnnl-dev)" "with the slower reference kernels")
    return()
  endif()
  # The rule of backend/cpu/capability.hpp, said where a user sees it.
  mixprec_read_define(version ${MIXPREC_ONEDNN_INCLUDE_DIR} dnnl_version.h DNNL_VERSION_MAJOR)
  mixprec_read_define(runtime ${MIXPREC_ONEDNN_INCLUDE_DIR} dnnl_config.h DNNL_CPU_RUNTIME)
  if(NOT version MATCHES "^[23]$" OR NOT runtime MATCHES "^DNNL_RUNTIME_(OMP|SEQ|TBB)$")
    mixprec_missing(ONEDNN "oneDNN 2.x or 3.x on OpenMP, TBB or one thread (${MIXPREC_ONEDNN_INCLUDE_DIR}: ${version}.x on \
${runtime})" "with the slower reference kernels")
    return()
  endif()
  if(NOT TARGET mixprec::onednn)
    add_library(mixprec::onednn INTERFACE IMPORTED GLOBAL)
    target_include_directories(mixprec::onednn SYSTEM INTERFACE ${MIXPREC_ONEDNN_INCLUDE_DIR})
    target_link_libraries(mixprec::onednn INTERFACE ${MIXPREC_ONEDNN_LIBRARY})
    target_compile_definitions(mixprec::onednn INTERFACE MIXPREC_WITH_ONEDNN)
  endif()
  set(MIXPREC_HAS_ONEDNN ON PARENT_SCOPE)
endfunction()

# mixprec::data: what the headers of data/ and io/ need beyond the library (zlib for .gz files, a prefetching thread).
function(mixprec_find_data)
  mixprec_return_unless_wanted(DATA)
  find_package(ZLIB QUIET)
  find_package(Threads QUIET)
  if(NOT ZLIB_FOUND OR NOT Threads_FOUND)
    mixprec_missing(DATA "zlib (Debian: zlib1g-dev)")
    return()
  endif()
  if(NOT TARGET mixprec::data)
    add_library(mixprec::data INTERFACE IMPORTED GLOBAL)
    target_link_libraries(mixprec::data INTERFACE mixprec::mixprec ZLIB::ZLIB Threads::Threads)
  endif()
  set(MIXPREC_HAS_DATA ON PARENT_SCOPE)
endfunction()

# mixprec::images: what the readers of PNG and JPEG files need beyond mixprec::data (png.hpp, jpeg.hpp, image_file.hpp and
# segmentation_list.hpp of data/). After mixprec_find_data.
function(mixprec_find_images)
  mixprec_return_unless_wanted(IMAGES)
  if(NOT MIXPREC_HAS_DATA)
    mixprec_missing(IMAGES "zlib (Debian: zlib1g-dev)")
    return()
  endif()
  find_package(PNG QUIET)
  find_package(JPEG QUIET)
  if(NOT TARGET PNG::PNG OR NOT TARGET JPEG::JPEG)
    mixprec_missing(IMAGES "libpng or libjpeg (Debian: libpng-dev libjpeg-dev)")
    return()
  endif()
  if(NOT TARGET mixprec::images)
    add_library(mixprec::images INTERFACE IMPORTED GLOBAL)
    target_link_libraries(mixprec::images INTERFACE mixprec::data PNG::PNG JPEG::JPEG)
  endif()
  set(MIXPREC_HAS_IMAGES ON PARENT_SCOPE)
endfunction()

# mixprec::cuda: the CUDA runtime, cuBLASLt and cuDNN. Sources that include <mixprec/cuda.hpp> are compiled by nvcc.
function(mixprec_find_cuda)
  mixprec_return_unless_wanted(CUDA)
  find_package(CUDAToolkit QUIET)
  if(NOT CUDAToolkit_FOUND)
    mixprec_missing(CUDA "a CUDA toolkit")
    return()
  endif()
  if(NOT TARGET CUDA::cudart OR NOT TARGET CUDA::cublasLt)
    mixprec_missing(CUDA "cudart or cublasLt in the CUDA toolkit of ${CUDAToolkit_BIN_DIR}")
    return()
  endif()
  find_path(MIXPREC_CUDNN_INCLUDE_DIR cudnn.h HINTS ENV CUDNN_ROOT ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include)
  find_library(MIXPREC_CUDNN_LIBRARY cudnn HINTS ENV CUDNN_ROOT ${CUDAToolkit_LIBRARY_DIR} PATH_SUFFIXES lib64 lib)
  mark_as_advanced(MIXPREC_CUDNN_INCLUDE_DIR MIXPREC_CUDNN_LIBRARY)
  if(NOT MIXPREC_CUDNN_INCLUDE_DIR OR NOT MIXPREC_CUDNN_LIBRARY)
    mixprec_missing(CUDA "cuDNN (cudnn.h and libcudnn; set CUDNN_ROOT where it lies outside the CUDA toolkit)")
    return()
  endif()
  if(NOT TARGET mixprec::cuda)
    add_library(mixprec::cuda INTERFACE IMPORTED GLOBAL)
    # Not the feature cuda_std_20: CMake 3.25 (Debian 12) does not know that nvcc has it.
    target_compile_options(mixprec::cuda INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>)
    target_include_directories(mixprec::cuda SYSTEM INTERFACE ${MIXPREC_CUDNN_INCLUDE_DIR})
    target_link_libraries(mixprec::cuda INTERFACE mixprec::mixprec CUDA::cudart CUDA::cublasLt ${MIXPREC_CUDNN_LIBRARY})
  endif()
  set(MIXPREC_HAS_CUDA ON PARENT_SCOPE)
endfunction()
