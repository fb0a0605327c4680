# How everything is compiled.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, RelWithDebInfo or Debug" FORCE)
endif()

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

# One layout for the build folder and the installation: bin/, lib/streambus/plugins/.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(STREAMBUS_PLUGIN_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/streambus/plugins)
set(STREAMBUS_PLUGIN_INSTALL_DIRECTORY lib/streambus/plugins)

option(STREAMBUS_WERROR "Treat warnings as errors" OFF)
set(STREAMBUS_SANITIZE "" CACHE STRING "Sanitizers to build with: 'address,undefined' or 'thread'")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

find_package(Threads REQUIRED)

# Frame pointers in every build: stacks stay whole through plugins when profiled.
add_library(streambus_flags INTERFACE)
target_compile_options(streambus_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wconversion -Wno-sign-conversion
  -fno-omit-frame-pointer
  # libstdc++ 12 uses what it deprecates itself (std::stable_sort), and clang says so in our files; GCC keeps watch.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> # false positives on "text" + std::string in GCC 12 (GCC bug 105651)
  $<$<BOOL:${STREAMBUS_WERROR}>:-Werror>
  $<$<CONFIG:Debug>:-Og>)
if(STREAMBUS_SANITIZE)
  target_compile_options(streambus_flags INTERFACE -fsanitize=${STREAMBUS_SANITIZE} -fno-sanitize-recover=all -g1)
  target_link_options(streambus_flags INTERFACE -fsanitize=${STREAMBUS_SANITIZE})
endif()
target_link_libraries(streambus_flags INTERFACE Threads::Threads)
