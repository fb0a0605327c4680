# How a plugin is made: by the tree itself and, installed with the package (find_package(StreamBus)), by anybody.

# streambus_add_plugin(NAME [LIBRARY...]): the plugin NAME ("storage-acme") from this folder's *.cpp, linked with the plugin API and
#   the libraries. Target: streambus_<NAME with '_' for '-'>; file: NAME.so in this folder's build folder; installed, as a component
#   NAME, where the broker looks for plugins. STREAMBUS_SANITIZE ("address,undefined" or "thread") builds it with sanitizers.
#   The same sources make the static library streambus_static_<NAME>, built when something links it, whose descriptor symbol
#   carries the plugin's name.
function(streambus_add_plugin name)
  if(NOT name MATCHES "^(storage|codec|transport|protocol)-[A-Za-z0-9][A-Za-z0-9-]*$")
    message(FATAL_ERROR "streambus_add_plugin: expected a name such as 'storage-acme' (kind, then letters, digits and '-'), found '${name}'")
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  string(REPLACE "-" "_" id ${name})

  add_library(streambus_${id} MODULE ${sources})
  set_target_properties(streambus_${id} PROPERTIES
    PREFIX "" OUTPUT_NAME ${name}
    INSTALL_RPATH "$ORIGIN/..") # where a tarball keeps the libraries it brings along
  target_link_options(streambus_${id} PRIVATE -Wl,-z,now)
  if(NOT (CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND (STREAMBUS_SANITIZE OR CMAKE_CXX_FLAGS MATCHES "-fsanitize")))
    target_link_options(streambus_${id} PRIVATE -Wl,--no-undefined) # clang leaves the sanitizer's symbols to the executable
  endif()
  set(destination lib/streambus/plugins)
  if(STREAMBUS_PLUGIN_OUTPUT_DIRECTORY)
    set_target_properties(streambus_${id} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${STREAMBUS_PLUGIN_OUTPUT_DIRECTORY})
  endif()
  install(TARGETS streambus_${id} LIBRARY DESTINATION ${destination} COMPONENT ${name})

  add_library(streambus_static_${id} STATIC EXCLUDE_FROM_ALL ${sources})
  target_compile_definitions(streambus_static_${id} PRIVATE STREAMBUS_PLUGIN_SYMBOL=streambus_plugin_${id})

  foreach(target streambus_${id} streambus_static_${id})
    set_target_properties(${target} PROPERTIES
      POSITION_INDEPENDENT_CODE ON CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
    target_link_libraries(${target} PRIVATE StreamBus::plugin_api ${ARGN})
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>)
    if(TARGET streambus_flags) # in the tree
      target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:streambus_flags>)
      target_compile_definitions(streambus_static_${id} PRIVATE FMT_HEADER_ONLY)
    else()
      target_compile_options(${target} PRIVATE -Wall -Wextra -fno-omit-frame-pointer)
      if(STREAMBUS_SANITIZE)
        target_compile_options(${target} PRIVATE -fsanitize=${STREAMBUS_SANITIZE} -fno-sanitize-recover=all -g1)
        target_link_options(${target} PRIVATE -fsanitize=${STREAMBUS_SANITIZE})
      endif()
    endif()
  endforeach()
  set_property(GLOBAL APPEND PROPERTY STREAMBUS_BUILT_PLUGINS ${name})
endfunction()

# streambus_check_plugin(NAME [TEST test] [LEVEL basic|durable|stress] [CONFIG K=V...]): a ctest entry that runs `streambus plugin
#   check` on the plugin, with those options of it. STREAMBUS_COMMAND is the program; a plugin built with a sanitizer needs one built
#   with the same.
function(streambus_check_plugin name)
  cmake_parse_arguments(arg "" "TEST;LEVEL" "CONFIG" ${ARGN})
  if(NOT STREAMBUS_COMMAND)
    message(FATAL_ERROR "streambus_check_plugin: the program 'streambus' was not found; name it with -DSTREAMBUS_COMMAND=/path/to/bin/streambus")
  endif()
  if(NOT arg_TEST)
    set(arg_TEST ${name}.check)
  endif()
  if(NOT arg_LEVEL)
    set(arg_LEVEL basic)
  endif()
  string(REPLACE "-" "_" id ${name})
  set(options "")
  foreach(option ${arg_CONFIG})
    list(APPEND options --config ${option})
  endforeach()
  add_test(NAME ${arg_TEST} COMMAND ${STREAMBUS_COMMAND} plugin check $<TARGET_FILE:streambus_${id}> --level ${arg_LEVEL} ${options})
  set_tests_properties(${arg_TEST} PROPERTIES TIMEOUT 600)
endfunction()
