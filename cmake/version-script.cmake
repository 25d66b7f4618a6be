# Writes the version script of the shared library: what a public header names is exported, all else is local.
#
#   cmake -DHEADERS=FILE -DNODE=RILL_0.1 -DOUTPUT=FILE -DCOMPILER=CC -DINCLUDE_DIR=DIR -P version-script.cmake
#
# HEADERS is a C file that includes every public header. The compiler's preprocessor reads it, so comments name nothing, and
# a function that only an inline function of a header calls is exported as it must be.
execute_process(COMMAND ${COMPILER} -E -P -D_GNU_SOURCE -I${INCLUDE_DIR} -x c ${HEADERS}
                OUTPUT_VARIABLE text RESULT_VARIABLE status)
if(NOT status EQUAL 0)
    message(FATAL_ERROR "the public headers cannot be preprocessed")
endif()
string(REGEX MATCHALL "rill_[A-Za-z0-9_]+" names "${text}")
list(REMOVE_DUPLICATES names)
list(SORT names)
list(JOIN names ";\n        " exported)
file(WRITE ${OUTPUT} "${NODE} {\n    global:\n        ${exported};\n    local:\n        *;\n};\n")
