# What `cmake --install` leaves: bin/, lib/streambus/plugins/ (each plugin a component of its own), etc/streambus/, and the
# CMake package with which programs embed the broker, use the client and build plugins outside this tree.
#   components: core (streambusd, streambus, configuration), <plugin name>..., sdk (what a plugin is built with: headers, library,
#   CMake package, pkg-config file), dev (what a program that embeds the broker or the client needs besides the sdk)
include(CMakePackageConfigHelpers)

set(package_dir lib/cmake/StreamBus)
# streambus_install_libraries(COMPONENT SET NAME...): exported as StreamBus<SET>Targets.cmake.
function(streambus_install_libraries component set)
  foreach(name ${ARGN})
    if(TARGET streambus_${name})
      install(TARGETS streambus_${name} EXPORT StreamBus${set} ARCHIVE DESTINATION lib/streambus COMPONENT ${component})
    endif()
  endforeach()
  install(EXPORT StreamBus${set} FILE StreamBus${set}Targets.cmake NAMESPACE StreamBus:: DESTINATION ${package_dir} COMPONENT ${component})
endfunction()
streambus_install_libraries(sdk Sdk base plugin_api)
streambus_install_libraries(dev Dev plugin_loader host config broker wire client)

foreach(headers base plugin)
  install(DIRECTORY core/include/streambus/${headers} DESTINATION include/streambus COMPONENT sdk FILES_MATCHING PATTERN "*.hpp")
endforeach()
install(DIRECTORY ${PROJECT_BINARY_DIR}/core/generated/ DESTINATION include COMPONENT sdk FILES_MATCHING PATTERN "*.hpp")
foreach(headers core/include client/include wire/include)
  if(EXISTS ${PROJECT_SOURCE_DIR}/${headers})
    install(DIRECTORY ${headers}/ DESTINATION include COMPONENT dev FILES_MATCHING PATTERN "*.hpp"
      PATTERN streambus/base EXCLUDE PATTERN streambus/plugin EXCLUDE)
  endif()
endforeach()
if(EXISTS ${PROJECT_BINARY_DIR}/wire/generated)
  install(DIRECTORY ${PROJECT_BINARY_DIR}/wire/generated/ DESTINATION include COMPONENT dev FILES_MATCHING PATTERN "*.hpp")
endif()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/StreamBusConfig.cmake.in ${PROJECT_BINARY_DIR}/StreamBusConfig.cmake
  INSTALL_DESTINATION ${package_dir} PATH_VARS STREAMBUS_PLUGIN_INSTALL_DIRECTORY)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/StreamBusConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/StreamBusConfig.cmake ${PROJECT_BINARY_DIR}/StreamBusConfigVersion.cmake cmake/StreamBusPlugin.cmake
  DESTINATION ${package_dir} COMPONENT sdk)
configure_file(${PROJECT_SOURCE_DIR}/cmake/streambus-plugin.pc.in ${PROJECT_BINARY_DIR}/streambus-plugin.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/streambus-plugin.pc DESTINATION lib/pkgconfig COMPONENT sdk)
install(FILES config/streambus.toml DESTINATION etc/streambus COMPONENT core)
