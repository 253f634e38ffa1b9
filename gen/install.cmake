# SPDX-License-Identifier: MIT
# What `cmake --install` lays out: the command, libqpal with its header, pkg-config and CMake files.
# The target 'product' builds all of it, and no tests.

if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  message(FATAL_ERROR
    "CMAKE_INSTALL_LIBDIR=${CMAKE_INSTALL_LIBDIR}, "
    "CMAKE_INSTALL_INCLUDEDIR=${CMAKE_INSTALL_INCLUDEDIR}: should be relative to the prefix")
endif()

if(TARGET qpal)
  install(TARGETS qpal)
  install(PROGRAMS tuner/slurm/qpal-tune-array TYPE BIN)
endif()
add_custom_target(product DEPENDS libqpal libqpal_shared libqpal_sim api)
if(TARGET qpal)
  add_dependencies(product qpal)
endif()
install(TARGETS libqpal EXPORT qpalTargets)
install(TARGETS libqpal_shared)
install(TARGETS libqpal_sim EXPORT qpalTargets)
install(FILES ${PUBLIC_HEADERS} TYPE INCLUDE)
install(FILES runtime/LAYOUT.md runtime/PACKED.md runtime/LIBRARY.md TYPE DOC)
install(FILES ${PROJECT_BINARY_DIR}/API.md TYPE DOC)
install(DIRECTORY runtime/examples TYPE DOC)
install(DIRECTORY runtime/python/qpal DESTINATION ${CMAKE_INSTALL_DATADIR}/qpal/python
  FILES_MATCHING PATTERN "*.py" PATTERN "__pycache__" EXCLUDE)
install(FILES LICENSE README.md TYPE DOC)

# The package files name no absolute path: an installed tree can be moved.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/qpal)
configure_package_config_file(runtime/qpalConfig.cmake.in qpalConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(qpalConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/qpalConfig.cmake ${PROJECT_BINARY_DIR}/qpalConfigVersion.cmake
  DESTINATION ${package_dir})
install(EXPORT qpalTargets NAMESPACE qpal:: DESTINATION ${package_dir})

set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH QPAL_PC_PREFIX /${pc_dir} /)
string(REGEX REPLACE "/$" "" QPAL_PC_PREFIX "${QPAL_PC_PREFIX}")
foreach(package qpal qpal_sim)
  configure_file(runtime/${package}.pc.in ${package}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${package}.pc DESTINATION ${pc_dir})
endforeach()
