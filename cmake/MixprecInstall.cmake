# SPDX-License-Identifier: Apache-2.0
# `cmake --install` and find_package(mixprec): headers, the exported target, and a package file that finds the same
# components again.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(mixprec_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mixprec)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh")
install(TARGETS mixprec EXPORT mixprec-targets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT mixprec-targets NAMESPACE mixprec:: DESTINATION ${mixprec_package_dir})

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/mixprec-config.cmake.in
                              ${PROJECT_BINARY_DIR}/mixprec-config.cmake INSTALL_DESTINATION ${mixprec_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/mixprec-config-version.cmake COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/mixprec-config.cmake ${PROJECT_BINARY_DIR}/mixprec-config-version.cmake
              ${CMAKE_CURRENT_LIST_DIR}/MixprecComponents.cmake DESTINATION ${mixprec_package_dir})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
