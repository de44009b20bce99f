# Compiler flags for every target: warnings, sanitizers, and a release that the linker can strip of
# what nothing refers to.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or RelWithDebInfo" FORCE)
endif()
set(BRISK_SANITIZE "" CACHE STRING "-fsanitize= list: address,undefined or thread")
option(BRISK_FUZZ "build the fuzz targets for libFuzzer (needs clang)" OFF)

if(NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(BRISK_CCACHE ccache)
  if(BRISK_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${BRISK_CCACHE})
  endif()
endif()

# The speed is in the kernels that brisk compiles itself: -O2 for quicker builds, and no contraction
# of a*b+c, so that the reference interpreters round alike on every processor.
string(REPLACE "-O3" "-O2" CMAKE_CXX_FLAGS_RELEASE "${CMAKE_CXX_FLAGS_RELEASE}")
add_compile_options(-Wall -Wextra -Wno-missing-field-initializers -ffp-contract=off)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  add_compile_options(-ffunction-sections -fdata-sections)
  add_link_options(-Wl,--gc-sections -Wl,-s)
endif()
if(BRISK_SANITIZE)
  add_compile_options(-fsanitize=${BRISK_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${BRISK_SANITIZE})
endif()
if(BRISK_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "BRISK_FUZZ needs clang++; use the preset fuzz")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
