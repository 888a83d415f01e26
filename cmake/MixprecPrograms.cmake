# SPDX-License-Identifier: Apache-2.0
# What our own tests, examples and benchmarks share: warnings, sanitizers, the CUDA language, and the packages that
# programs may use. Consumers of the library never see any of it.

add_library(mixprec_build_options INTERFACE)
# Option structs are aggregates with default values: leaving fields out is how they are used.
# g++ 13 behind nvcc: with -Wtautological-compare it gives up constant evaluations that it can do without (a plan of a
# large model then does not compile).
target_compile_options(mixprec_build_options INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wno-missing-field-initializers>"
    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wno-tautological-compare>")
if(MIXPREC_WERROR)
  target_compile_options(mixprec_build_options INTERFACE
      $<$<COMPILE_LANGUAGE:CXX>:-Werror> "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Werror all-warnings>")
endif()
if(MIXPREC_SANITIZE)
  set(sanitizer_flags -fsanitize=${MIXPREC_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(mixprec_build_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${sanitizer_flags}>")
  target_link_options(mixprec_build_options INTERFACE -fsanitize=${MIXPREC_SANITIZE})
endif()

# For programs that are measured, not for tests: those must also hold on the plain instruction set.
add_library(mixprec_native_options INTERFACE)
if(MIXPREC_NATIVE)
  target_compile_options(mixprec_native_options INTERFACE
      $<$<COMPILE_LANGUAGE:CXX>:-march=native> $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-march=native>)
endif()

if(MIXPREC_HAS_CUDA)
  # Machine code for compute capability 8.0 and 9.0a, and PTX for what comes later; the user's choice stands.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND "$ENV{CUDAARCHS}" STREQUAL "")
    set(CMAKE_CUDA_ARCHITECTURES "80;90a-real")
  endif()
  # nvcc is often installed where no PATH leads to it.
  if(NOT CMAKE_CUDA_COMPILER AND "$ENV{CUDACXX}" STREQUAL "" AND CUDAToolkit_NVCC_EXECUTABLE)
    set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
  endif()
  # mixprec::cuda links the shared runtime; nvcc would link the static one beside it.
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
  # The oracles of CUDA tests are host code: too slow without any optimisation.
  set(CMAKE_CUDA_FLAGS_DEBUG "-O1 -g" CACHE STRING "Flags of nvcc in debug builds")
  # Said before the compiler is tried, which may not know an old architecture any more. "native" and "all" are left to
  # the headers, which stop the compiler with the same sentence (backend/cuda/architecture.hpp).
  set(mixprec_architectures "$ENV{CUDAARCHS}")
  if(DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(mixprec_architectures "${CMAKE_CUDA_ARCHITECTURES}")
  endif()
  foreach(architecture IN LISTS mixprec_architectures)
    if(architecture MATCHES "^([0-9]+)" AND CMAKE_MATCH_1 LESS 80)
      message(FATAL_ERROR "mixprec: CMAKE_CUDA_ARCHITECTURES holds ${architecture}, but the CUDA backend needs compute "
                          "capability 8.0 or newer. Name 80 or above, or configure with -DMIXPREC_CUDA=OFF.")
    endif()
  endforeach()
  enable_language(CUDA)
endif()
set(CMAKE_CXX_EXTENSIONS OFF)

# Makes the program `name` of one source file, linked with mixprec, and with what the source includes beyond it. Where
# something is missing, a package or CUDA for a .cu file, the program is left out, with a line that says why.
function(mixprec_add_program name source)
  get_filename_component(source ${source} ABSOLUTE)
  if(source MATCHES "\\.cu$" AND NOT MIXPREC_HAS_CUDA)
    message(STATUS "mixprec: ${name} is left out: it needs CUDA")
    return()
  endif()
  file(STRINGS ${source} includes REGEX "^ *# *include *[<\"]")
  get_filename_component(folder ${source} DIRECTORY)
  file(GLOB neighbours CONFIGURE_DEPENDS ${folder}/*.hpp)
  foreach(neighbour IN LISTS neighbours)
    get_filename_component(neighbour_name ${neighbour} NAME)
    if(includes MATCHES "${neighbour_name}")
      file(STRINGS ${neighbour} more REGEX "^ *# *include *[<\"]")
      list(APPEND includes ${more})
    endif()
  endforeach()

  set(libraries mixprec::mixprec mixprec_build_options mixprec_native_options)
  foreach(rule "<CLI/|CLI11|CLI11::CLI11|libcli11-dev" "<nlohmann/|nlohmann_json|nlohmann_json::nlohmann_json|nlohmann-json3-dev"
               "<benchmark/|benchmark|benchmark::benchmark|libbenchmark-dev" "<png.h>|PNG|PNG::PNG|libpng-dev"
               "<zlib.h>|ZLIB|ZLIB::ZLIB|zlib1g-dev")
    string(REPLACE "|" ";" rule "${rule}")
    list(GET rule 0 pattern)
    list(GET rule 1 package)
    list(GET rule 2 target)
    list(GET rule 3 debian_package)
    if(includes MATCHES "${pattern}")
      find_package(${package} QUIET)
      if(NOT TARGET ${target})
        message(STATUS "mixprec: ${name} is left out: it needs ${package} (Debian: ${debian_package})")
        return()
      endif()
      list(APPEND libraries ${target})
    endif()
  endforeach()

  if(includes MATCHES "mixprec/data/(png|jpeg|image_file|segmentation_list)\\.hpp")
    if(NOT MIXPREC_HAS_IMAGES)
      message(STATUS "mixprec: ${name} is left out: it needs libpng and libjpeg (Debian: libpng-dev libjpeg-dev)")
      return()
    endif()
    list(APPEND libraries mixprec::images)
  endif()

  add_executable(${name} ${source})
  if(source MATCHES "\\.cu$")
    list(APPEND libraries mixprec::cuda)
  endif()
  if(MIXPREC_HAS_DATA)
    list(APPEND libraries mixprec::data)
  endif()
  target_link_libraries(${name} PRIVATE ${libraries})
endfunction()
