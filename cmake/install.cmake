# What `cmake --install` installs: the public headers in their tree, one archive and one shared library of all layers, the
# programs, and how pkg-config and find_package() find them. The prefix can be moved afterwards.
include(CMakePackageConfigHelpers)

foreach(folder timer core net http)
    list(APPEND objects $<TARGET_OBJECTS:rill_${folder}>)
    get_target_property(layer_sources rill_${folder} SOURCES)
    list(APPEND sources ${layer_sources})
    install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/rill
            FILES_MATCHING PATTERN "*.h" PATTERN "*_internal.h" EXCLUDE)
endforeach()

# The archive: rill::rill for find_package().
add_library(rill_archive STATIC ${objects})
set_target_properties(rill_archive PROPERTIES OUTPUT_NAME rill EXPORT_NAME rill)
target_include_directories(rill_archive INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(rill_archive PUBLIC PkgConfig::LIBEVENT Threads::Threads)
set(installed rill_archive)

# ---- The shared library: rill::shared --------------------------------------------------------------------

if(RILL_SHARED)
    include(CheckLinkerFlag)
    file(GLOB public_headers RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS timer/*.h core/*.h net/*.h http/*.h)
    list(FILTER public_headers EXCLUDE REGEX "_internal[.]h$")
    list(TRANSFORM public_headers REPLACE "(.+)" "#include \"rill/\\1\"" OUTPUT_VARIABLE includes)
    list(JOIN includes "\n" includes)
    file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/public-headers.c CONTENT "${includes}\n")

    # Before version 1.0 a minor version may change what programs were compiled with.
    set(interface_version ${PROJECT_VERSION_MAJOR})
    if(interface_version EQUAL 0)
        set(interface_version ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
    endif()
    set(version_script ${CMAKE_BINARY_DIR}/rill.map)
    add_custom_command(
        OUTPUT ${version_script}
        COMMAND ${CMAKE_COMMAND} -DHEADERS=${CMAKE_BINARY_DIR}/public-headers.c -DNODE=RILL_${interface_version}
                -DOUTPUT=${version_script} -DCOMPILER=${CMAKE_C_COMPILER} -DINCLUDE_DIR=${RILL_INCLUDE_DIR} -P
                ${PROJECT_SOURCE_DIR}/cmake/version-script.cmake
        DEPENDS cmake/version-script.cmake ${CMAKE_BINARY_DIR}/public-headers.c ${public_headers}
        COMMENT "Listing what the shared library exports")
    add_custom_target(rill_version_script DEPENDS ${version_script})

    # Compiled for itself: position-independent objects with thread variables that any loader can place would cost
    # the programs a few instructions a request.
    add_library(rill_shared SHARED ${sources})
    add_dependencies(rill_shared rill_version_script)
    set_target_properties(rill_shared PROPERTIES OUTPUT_NAME rill EXPORT_NAME shared LINKER_LANGUAGE C
                          VERSION ${PROJECT_VERSION} SOVERSION ${interface_version} LINK_DEPENDS ${version_script})
    # Nobody links these objects again, so they need no machine code yet.
    target_compile_options(rill_shared PRIVATE -fno-semantic-interposition -ftls-model=initial-exec
                                               $<$<C_COMPILER_ID:GNU>:-fno-fat-lto-objects>)
    target_include_directories(rill_shared PRIVATE ${RILL_INCLUDE_DIR} INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    target_link_libraries(rill_shared PRIVATE PkgConfig::LIBEVENT Threads::Threads)
    target_link_options(rill_shared PRIVATE LINKER:--version-script=${version_script} LINKER:-Bsymbolic-functions
                                            LINKER:--no-undefined)
    # The list has inline functions and types too; some linkers object to names that are not there.
    check_linker_flag(C -Wl,--undefined-version RILL_LINKER_UNDEFINED_VERSION)
    if(RILL_LINKER_UNDEFINED_VERSION)
        target_link_options(rill_shared PRIVATE LINKER:--undefined-version)
    endif()
    list(APPEND installed rill_shared)
endif()

install(TARGETS ${installed} EXPORT rill ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
                                         LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
get_property(programs GLOBAL PROPERTY RILL_PROGRAMS)
if(programs)
    install(TARGETS ${programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# ---- find_package(rill) ----------------------------------------------------------------------------------

set(cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rill)
install(EXPORT rill NAMESPACE rill:: FILE rill-targets.cmake DESTINATION ${cmake_dir})
file(WRITE ${CMAKE_BINARY_DIR}/rill-config.cmake [[
# Gives the targets rill::rill, an archive, and rill::shared, where that was installed.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(PkgConfig)
if(NOT TARGET PkgConfig::LIBEVENT)
    pkg_check_modules(LIBEVENT REQUIRED IMPORTED_TARGET libevent_core)
endif()
include(${CMAKE_CURRENT_LIST_DIR}/rill-targets.cmake)
]])
write_basic_package_version_file(${CMAKE_BINARY_DIR}/rill-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/rill-config.cmake ${CMAKE_BINARY_DIR}/rill-config-version.cmake
        DESTINATION ${cmake_dir})

# ---- pkg-config ------------------------------------------------------------------------------------------

# rill: the shared library, or with `pkg-config --static` and `cc -static` the archive. rill-static: the archive, and
# whatever it needs as the linker finds it.
file(RELATIVE_PATH prefix_from_pc /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" prefix_from_pc ${prefix_from_pc})
set(pc_head "prefix=\${pcfiledir}/${prefix_from_pc}
Description: ${PROJECT_DESCRIPTION}
Version: ${PROJECT_VERSION}
Cflags: -I\${prefix}/${CMAKE_INSTALL_INCLUDEDIR} -pthread
")
set(lib_dir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
set(rill_needs "Libs: -L${lib_dir} -lrill -pthread\nRequires: libevent_core")
if(RILL_SHARED)
    set(rill_needs "Libs: -L${lib_dir} -lrill\nLibs.private: -pthread\nRequires.private: libevent_core")
endif()
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/rill.pc CONTENT "${pc_head}Name: rill\n${rill_needs}\n")
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/rill-static.pc CONTENT "${pc_head}Name: rill-static
Libs: ${lib_dir}/librill.a -pthread
Requires: libevent_core
")
install(FILES ${CMAKE_BINARY_DIR}/rill.pc ${CMAKE_BINARY_DIR}/rill-static.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
