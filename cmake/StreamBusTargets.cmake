# The few ways in which StreamBus makes targets.

set(STREAMBUS_PLUGINS "" CACHE STRING "Plugins to build, by folder name, separated by ';' (empty: all); those of STREAMBUS_STATIC_PLUGINS too")
set(STREAMBUS_STATIC_PLUGINS "" CACHE STRING "Plugins to link into streambusd and streambus, which then load none (empty: load at run time)")

# streambus_add_library(NAME FOLDER LIBRARIES...): target streambus_NAME (alias StreamBus::NAME) from FOLDER/*.cpp.
function(streambus_add_library name folder)
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cpp)
  add_library(streambus_${name} STATIC ${sources})
  add_library(StreamBus::${name} ALIAS streambus_${name})
  set_target_properties(streambus_${name} PROPERTIES EXPORT_NAME ${name})
  target_link_libraries(streambus_${name} PUBLIC ${ARGN} PRIVATE $<BUILD_INTERFACE:streambus_flags>)
endfunction()

# streambus_add_plugin(NAME LIBRARIES... ): a plugin from this folder's *.cpp, linked with the plugin API and LIBRARIES only.
#   The shared object goes to lib/streambus/plugins/NAME.so, an install component of its own.
#   Named in STREAMBUS_STATIC_PLUGINS or needed by the tests of the static variant, the same sources also make
#   streambus_static_NAME, whose descriptor symbol carries the plugin's name.
function(streambus_add_plugin name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  string(REPLACE "-" "_" id ${name})

  add_library(streambus_${id} MODULE ${sources})
  set_target_properties(streambus_${id} PROPERTIES
    PREFIX "" OUTPUT_NAME ${name} LIBRARY_OUTPUT_DIRECTORY ${STREAMBUS_PLUGIN_OUTPUT_DIRECTORY}
    INSTALL_RPATH "$ORIGIN/..") # where a tarball keeps the libraries it brings along
  target_link_options(streambus_${id} PRIVATE -Wl,-z,now)
  if(NOT (STREAMBUS_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang"))
    target_link_options(streambus_${id} PRIVATE -Wl,--no-undefined) # clang leaves the sanitizer's symbols to the executable
  endif()
  install(TARGETS streambus_${id} LIBRARY DESTINATION ${STREAMBUS_PLUGIN_INSTALL_DIRECTORY} COMPONENT ${name})

  add_library(streambus_static_${id} STATIC EXCLUDE_FROM_ALL ${sources})
  target_compile_definitions(streambus_static_${id} PRIVATE STREAMBUS_PLUGIN_SYMBOL=streambus_plugin_${id} FMT_HEADER_ONLY)

  foreach(target streambus_${id} streambus_static_${id})
    target_link_libraries(${target} PRIVATE StreamBus::plugin_api ${ARGN} $<BUILD_INTERFACE:streambus_flags>)
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>)
  endforeach()
  set_property(GLOBAL APPEND PROPERTY STREAMBUS_BUILT_PLUGINS ${name})
endfunction()

# streambus_add_test(NAME [SOURCES file...] [LIBRARIES target...] [LABELS label...] [TIMEOUT seconds] [ENVIRONMENT K=V...])
# A GoogleTest executable; sources default to this folder's *.cpp. One ctest entry per executable.
function(streambus_add_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LIBRARIES;LABELS;ENVIRONMENT" ${ARGN})
  if(NOT arg_SOURCES)
    file(GLOB arg_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${name} ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support
    ${PROJECT_SOURCE_DIR}/harness/conformance/include/streambus/conformance) # the doubles of storage engines and transports
  target_compile_definitions(${name} PRIVATE
    STREAMBUS_TEST_BUILD_DIR="${CMAKE_BINARY_DIR}" STREAMBUS_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} StreamBus::conformance GTest::gtest_main $<BUILD_INTERFACE:streambus_flags>)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}" ENVIRONMENT "${arg_ENVIRONMENT}")
endfunction()
