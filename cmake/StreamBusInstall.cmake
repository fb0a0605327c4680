# What `cmake --install` leaves: bin/, lib/streambus/plugins/ (each plugin a component of its own), etc/streambus/, and the
# CMake package with which programs embed the broker, use the client and build plugins outside this tree.
#   components: core (streambusd, streambus, configuration), <plugin name>..., dev (headers, libraries, package)
include(CMakePackageConfigHelpers)

set(package_dir lib/cmake/StreamBus)
set(libraries streambus_base streambus_plugin_api streambus_plugin_loader streambus_host streambus_config streambus_broker streambus_wire streambus_client)
foreach(library ${libraries})
  if(TARGET ${library})
    install(TARGETS ${library} EXPORT StreamBusTargets ARCHIVE DESTINATION lib/streambus COMPONENT dev)
  endif()
endforeach()
foreach(headers core/include client/include wire/include)
  if(EXISTS ${PROJECT_SOURCE_DIR}/${headers})
    install(DIRECTORY ${headers}/ DESTINATION include COMPONENT dev FILES_MATCHING PATTERN "*.hpp")
  endif()
endforeach()
install(DIRECTORY ${PROJECT_BINARY_DIR}/core/generated/ DESTINATION include COMPONENT dev FILES_MATCHING PATTERN "*.hpp")
if(EXISTS ${PROJECT_BINARY_DIR}/wire/generated)
  install(DIRECTORY ${PROJECT_BINARY_DIR}/wire/generated/ DESTINATION include COMPONENT dev FILES_MATCHING PATTERN "*.hpp")
endif()
install(EXPORT StreamBusTargets NAMESPACE StreamBus:: DESTINATION ${package_dir} COMPONENT dev)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/StreamBusConfig.cmake.in ${PROJECT_BINARY_DIR}/StreamBusConfig.cmake
  INSTALL_DESTINATION ${package_dir} PATH_VARS STREAMBUS_PLUGIN_INSTALL_DIRECTORY)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/StreamBusConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/StreamBusConfig.cmake ${PROJECT_BINARY_DIR}/StreamBusConfigVersion.cmake
  DESTINATION ${package_dir} COMPONENT dev)
install(FILES config/streambus.toml DESTINATION etc/streambus COMPONENT core)
