# brisk_llvm: LLVM 19 for codegen, as headers and libraries to link. Asks llvm-config instead of
# LLVM's CMake package, which looks for libraries that brisk never links (curl, z3, libxml2).
# BRISK_STATIC_LLVM chooses between the distribution's libLLVM.so (quick to link, for development)
# and the archives of the components that brisk uses (one binary to hand out).
find_program(BRISK_LLVM_CONFIG NAMES llvm-config-19 llvm-config
             HINTS /usr/lib/llvm-19/bin DOC "llvm-config of LLVM 19")
if(NOT BRISK_LLVM_CONFIG)
  message(FATAL_ERROR "LLVM 19 is missing (llvm-config-19): run tools/install_dependencies.sh")
endif()

function(brisk_llvm_config RESULT)
  execute_process(COMMAND ${BRISK_LLVM_CONFIG} ${ARGN} OUTPUT_VARIABLE output
                  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(output UNIX_COMMAND "${output}")
  set(${RESULT} ${output} PARENT_SCOPE)
endfunction()

brisk_llvm_config(version --version)
if(NOT version MATCHES "^19\\.")
  message(FATAL_ERROR "brisk needs LLVM 19, ${BRISK_LLVM_CONFIG} is ${version}")
endif()
brisk_llvm_config(includes --includedir)
brisk_llvm_config(libraries_folder --libdir)
brisk_llvm_config(rtti --has-rtti)

if(BRISK_STATIC_LLVM)
  brisk_llvm_config(archives --link-static --libfiles
                    core orcjit passes x86 aarch64 nvptx)
  find_package(ZLIB REQUIRED)
  find_library(BRISK_ZSTD NAMES zstd REQUIRED)
  set(libraries -Wl,--start-group ${archives} -Wl,--end-group ZLIB::ZLIB ${BRISK_ZSTD}
                ${CMAKE_DL_LIBS})
else()
  set(libraries ${libraries_folder}/libLLVM-19.so)
endif()

add_library(brisk_llvm INTERFACE IMPORTED)
target_include_directories(brisk_llvm SYSTEM INTERFACE ${includes})
target_link_libraries(brisk_llvm INTERFACE ${libraries})
if(NOT rtti STREQUAL "YES")
  target_compile_options(brisk_llvm INTERFACE -fno-rtti)
endif()
